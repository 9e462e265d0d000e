/** Makes one set of images and stores it below a folder (usage: hack/test-images): `fill.ts SET FOLDER`. */
import { critestImages } from './critest.ts';
import { fillStorage, type TestImage } from './image-set.ts';
import { nodeSuiteImages } from './node-suite.ts';

const sets: Readonly<Record<string, () => Promise<readonly TestImage[]>>> = {
  critest: critestImages,
  'node-suite': nodeSuiteImages,
};

const [name = '', directory = ''] = process.argv.slice(2);
const images = sets[name];
if (!images) throw new Error(`no set of images is called ${name} (${Object.keys(sets).join(', ')})`);
await fillStorage(directory, await images());
