/** The RPCs on images. */
import {
  type AuthConfig,
  type ImageFilter,
  type ImageSpec,
  StreamImagesResponse,
} from '../gen/runtime/v1/api.ts';
import { imageFsInfo, type ImageFsInfo } from '../images/image-fs-info.ts';
import type { Images } from '../images/images.ts';
import { imageDetails, listImages } from '../images/list.ts';
import { pullImage } from '../images/pull.ts';
import { removeImage } from '../images/remove.ts';
import { resolveImage } from '../images/store.ts';
import type { ImageHandlers } from './handlers.ts';
import { pages } from './pages.ts';
import { required, requiredText, textOf } from './translate/fields.ts';
import { imageFsToWire, imageToWire } from './translate/image.ts';

export interface ImageHandlerDeps {
  readonly images: Images;
  /** What containers have written: the same file system, counted apart. */
  readonly containerFs: () => Promise<ImageFsInfo>;
}

export function imageHandlers({ images, containerFs }: ImageHandlerDeps): ImageHandlers {
  const list = (filter: ImageFilter | undefined) =>
    listImages(images.store, textOf(filter?.image?.image ?? '')).map(imageToWire);
  return {
    async listImages({ filter }) {
      return { images: list(filter) };
    },
    streamImages: ({ filter }) =>
      pages(list(filter), (image) => StreamImagesResponse.encode({ images: [image] }).finish()),
    async imageStatus({ image: spec, verbose }) {
      const image = resolveImage(images.store, referenceOf(spec));
      // An image that is not there is no error: the kubelet asks before it pulls.
      if (image === undefined) return { image: undefined, info: {} };
      const info = verbose
        ? { info: JSON.stringify({ ...(await imageDetails(images.content, image)), layers: image.layers }) }
        : {};
      return { image: imageToWire(image), info };
    },
    async pullImage({ image: spec, auth }, signal) {
      const { id } = await pullImage(
        images,
        { reference: referenceOf(spec), ...(auth === undefined ? {} : { auth: authFromWire(auth) }) },
        signal,
      );
      return { imageRef: id };
    },
    async removeImage({ image: spec }) {
      await removeImage(images, referenceOf(spec));
      return {};
    },
    async imageFsInfo() {
      const containers = await containerFs();
      // The layers of images lie beside those of containers. Two places would be two disks to a client.
      const ofImages = { ...imageFsInfo(images), mountpoint: containers.mountpoint };
      return {
        imageFilesystems: [imageFsToWire(ofImages)],
        containerFilesystems: [imageFsToWire(containers)],
      };
    },
  };
}

function referenceOf(spec: ImageSpec | undefined): string {
  return requiredText(required(spec, 'image').image, 'image.image');
}

function authFromWire(auth: AuthConfig) {
  return {
    username: textOf(auth.username),
    password: textOf(auth.password),
    auth: textOf(auth.auth),
    serverAddress: textOf(auth.serverAddress),
    identityToken: textOf(auth.identityToken),
    registryToken: textOf(auth.registryToken),
  };
}
