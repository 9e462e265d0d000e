/** The one table from the engine's kinds of error to gRPC statuses. */
import { status, type ServiceError } from '@grpc/grpc-js';
import type { EngineError, ErrorKind } from '../lib/errors.ts';

const grpcStatus = {
  'invalid-argument': status.INVALID_ARGUMENT,
  'not-found': status.NOT_FOUND,
  'already-exists': status.ALREADY_EXISTS,
  'failed-precondition': status.FAILED_PRECONDITION,
  'permission-denied': status.PERMISSION_DENIED,
  unauthenticated: status.UNAUTHENTICATED,
  'resource-exhausted': status.RESOURCE_EXHAUSTED,
  'deadline-exceeded': status.DEADLINE_EXCEEDED,
  cancelled: status.CANCELLED,
  unavailable: status.UNAVAILABLE,
  unimplemented: status.UNIMPLEMENTED,
  'data-loss': status.DATA_LOSS,
  internal: status.INTERNAL,
} as const satisfies Record<ErrorKind, status>;

/** The wire form of an error: its kind as status, its message as details. Causes stay in the log. */
export function toServiceError(error: EngineError): Pick<ServiceError, 'code' | 'details'> {
  return { code: grpcStatus[error.kind], details: error.message };
}
