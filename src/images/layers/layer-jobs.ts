/** What the threads of the layer side are asked to do, and the messages that carry it. */
import type { ErrorKind } from '../../lib/errors.ts';
import type { ChainId, DiffId } from '../../lib/ids.ts';
import type { LayerRecord } from './layer-record.ts';
import type { LayerLimits } from './layer-types.ts';
import type { TreeUsage } from './tree-usage.ts';

/** Unpack into `<snapshotsDirectory>/<ingestName>` and commit by chain id. */
export interface UnpackJob {
  readonly name: 'unpack';
  readonly snapshotsDirectory: string;
  readonly ingestName: string;
  readonly chainId: ChainId;
  readonly expectedDiffId: DiffId;
  readonly mediaType: string;
  /** Where the compressed bytes are; undefined if they, or the tar, come from the other side. */
  readonly path: string | undefined;
  readonly limits: LayerLimits;
}

/** Remove `entries` of `directory`, with all that they hold. */
interface RemoveJob {
  readonly name: 'remove';
  readonly directory: string;
  readonly entries: readonly string[];
}

interface UsageJob {
  readonly name: 'usage';
  readonly path: string;
}

/** Make directories that a layer only implies look as the layers below it say. `layerDirectories`: bottom first. */
interface SettleJob {
  readonly name: 'settle';
  readonly layerDirectories: readonly string[];
}

export type LayerJob = UnpackJob | RemoveJob | UsageJob | SettleJob;

/** What each job gives. */
export interface JobResults {
  readonly unpack: LayerRecord;
  readonly remove: undefined;
  readonly usage: TreeUsage;
  readonly settle: undefined;
}

export type JobResult<J extends LayerJob> = JobResults[J['name']];

export type ToWorker =
  /** `tarFd`: a pipe with the tar, instead of compressed chunks. The other side closes it when the job is done; `end` tells that it was whole. */
  | { readonly name: 'job'; readonly job: LayerJob; readonly tarFd: number | undefined }
  | { readonly name: 'chunk'; readonly bytes: Uint8Array }
  | { readonly name: 'end' }
  | { readonly name: 'abort' };

export type FromWorker =
  /** So many bytes of what was sent are used: more may come. */
  | { readonly name: 'consumed'; readonly bytes: number }
  | { readonly name: 'done'; readonly result: JobResults[LayerJob['name']] }
  | { readonly name: 'failed'; readonly kind: ErrorKind; readonly message: string };
