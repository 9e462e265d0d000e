/** The services of the CRI as they are served: what is answered in bytes has been encoded by its handler. */
import { ImageServiceService, RuntimeServiceService } from '../gen/runtime/v1/api.ts';

/** In bytes are the lists of pods and containers, as `listEncoder` makes them, what streams, as `pages` does, and the outputs of commands. */
export const runtimeService = {
  ...RuntimeServiceService,
  listContainers: answeredInBytes(RuntimeServiceService.listContainers),
  streamContainers: answeredInBytes(RuntimeServiceService.streamContainers),
  listPodSandbox: answeredInBytes(RuntimeServiceService.listPodSandbox),
  streamPodSandboxes: answeredInBytes(RuntimeServiceService.streamPodSandboxes),
  streamContainerStats: answeredInBytes(RuntimeServiceService.streamContainerStats),
  streamPodSandboxStats: answeredInBytes(RuntimeServiceService.streamPodSandboxStats),
  streamPodSandboxMetrics: answeredInBytes(RuntimeServiceService.streamPodSandboxMetrics),
  execSync: answeredInBytes(RuntimeServiceService.execSync),
};

/** Its stream is in bytes. */
export const imageService = {
  ...ImageServiceService,
  streamImages: answeredInBytes(ImageServiceService.streamImages),
};

function answeredInBytes<Definition extends object>(definition: Definition) {
  return { ...definition, responseSerialize: (bytes: Buffer): Buffer => bytes };
}
