/** Collectors for tests: what OTLP's two protocols bring is decoded by a codec that is not the exporter's. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import protobuf from 'protobufjs';

interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  /** These two: to the microsecond. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Readonly<Record<string, string>>;
  /** 0: not said, 2: an error. */
  readonly statusCode: number;
  readonly statusMessage: string;
  /** Of the program that sent it. */
  readonly resource: Readonly<Record<string, string>>;
}

export interface OtlpReceiver extends AsyncDisposable {
  readonly endpoint: string;
  readonly spans: readonly ReceivedSpan[];
  /** The bodies as they came, to look for what must not be in them. */
  readonly bodies: readonly Buffer[];
}

const { root } = protobuf.parse(`
  syntax = "proto3";
  message ExportTraceServiceRequest { repeated ResourceSpans resource_spans = 1; }
  message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
  message Resource { repeated KeyValue attributes = 1; }
  message ScopeSpans { repeated Span spans = 2; }
  message KeyValue { string key = 1; AnyValue value = 2; }
  message AnyValue { string string_value = 1; }
  message Status { string message = 2; int32 code = 3; }
  message Span {
    bytes trace_id = 1; bytes span_id = 2; bytes parent_span_id = 4; string name = 5;
    fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8;
    repeated KeyValue attributes = 9; Status status = 15;
  }`);
const requestType = root.lookupType('ExportTraceServiceRequest');

interface WireAttribute {
  readonly key: string;
  readonly value: { readonly stringValue: string };
}

interface WireSpan {
  readonly traceId: Buffer;
  readonly spanId: Buffer;
  readonly parentSpanId: Buffer;
  readonly name: string;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly WireAttribute[];
  readonly status: { readonly code: number; readonly message: string } | null;
}

interface WireRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: readonly WireAttribute[] };
    readonly scopeSpans: readonly { readonly spans: readonly WireSpan[] }[];
  }[];
}

function decode(body: Buffer): ReceivedSpan[] {
  const { resourceSpans } = requestType.toObject(requestType.decode(body), {
    longs: String,
    defaults: true,
  }) as WireRequest;
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({ ...spanOf(span), resource: record(resource.attributes) })),
    ),
  );
}

function spanOf(span: WireSpan): Omit<ReceivedSpan, 'resource'> {
  return {
    traceId: span.traceId.toString('hex'),
    spanId: span.spanId.toString('hex'),
    parentSpanId: Buffer.from(span.parentSpanId).toString('hex'),
    name: span.name,
    startMs: roundedMs(span.startTimeUnixNano),
    endMs: roundedMs(span.endTimeUnixNano),
    attributes: record(span.attributes),
    statusCode: span.status?.code ?? 0,
    statusMessage: span.status?.message ?? '',
  };
}

/** The exporter splits seconds from their fraction, which costs some digits. */
function roundedMs(nano: string): number {
  return Math.round(Number(nano) / 1000) / 1000;
}

function record(attributes: readonly WireAttribute[]): Record<string, string> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue]));
}

/** Listens on a loopback port for OTLP over HTTP. */
export async function startHttpReceiver(): Promise<OtlpReceiver> {
  const received: { spans: ReceivedSpan[]; bodies: Buffer[] } = { spans: [], bodies: [] };
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      if (request.method !== 'POST' || request.url !== '/v1/traces') {
        response.writeHead(404).end();
        return;
      }
      const body = Buffer.concat(parts);
      received.bodies.push(body);
      received.spans.push(...decode(body));
      response.writeHead(200, { 'Content-Type': 'application/x-protobuf' }).end();
    });
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(0, '127.0.0.1', resolve);
  await promise;
  return {
    ...received,
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** Listens on a loopback port for OTLP over gRPC. */
export async function startGrpcReceiver(): Promise<OtlpReceiver> {
  const received: { spans: ReceivedSpan[]; bodies: Buffer[] } = { spans: [], bodies: [] };
  const server = new Server();
  const keep = (bytes: Buffer): Buffer => bytes;
  const definition = {
    export: {
      path: '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
      requestStream: false,
      responseStream: false,
      requestSerialize: keep,
      requestDeserialize: keep,
      responseSerialize: keep,
      responseDeserialize: keep,
    },
  } as const;
  server.addService(definition, {
    export: ({ request }: { request: Buffer }, callback: (error: null, answer: Buffer) => void) => {
      received.bodies.push(request);
      received.spans.push(...decode(request));
      callback(null, Buffer.alloc(0));
    },
  });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
    error === null ? resolve(port) : reject(error),
  );
  return {
    ...received,
    endpoint: `http://127.0.0.1:${await promise}`,
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}
