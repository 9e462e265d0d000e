/** Lines of a CRI log: `<RFC 3339 time> <stdout|stderr> <P|F>[:TAG] <text>`. Pure. */

export interface LogLine {
  readonly timestamp: string;
  readonly stream: 'stdout' | 'stderr';
  /** False when the text goes on in the stream's next line of the file. */
  readonly isComplete: boolean;
  readonly text: Buffer;
}

const blank = 0x20;
const newline = 0x0a;

/** Reads one line, without its newline; undefined for what is no log line, such as one cut by a full disk. */
export function parseLogLine(line: Buffer): LogLine | undefined {
  const ends: number[] = [];
  for (let from = 0; ends.length < 3; from = (ends.at(-1) ?? 0) + 1) {
    const end = line.indexOf(blank, from);
    if (end === -1) return undefined;
    ends.push(end);
  }
  const [first = 0, second = 0, third = 0] = ends;
  const stream = line.toString('latin1', first + 1, second);
  const tag = line.toString('latin1', second + 1, third).split(':')[0];
  if ((stream !== 'stdout' && stream !== 'stderr') || (tag !== 'P' && tag !== 'F')) return undefined;
  return {
    timestamp: line.toString('latin1', 0, first),
    stream,
    isComplete: tag === 'F',
    text: line.subarray(third + 1),
  };
}

/** Cuts what is read from a file into lines; keeps the part after the last newline for the next piece. */
export class LineCutter {
  #rest: Buffer = Buffer.alloc(0);

  *push(piece: Buffer): Generator<Buffer> {
    let data = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    for (let end = data.indexOf(newline); end !== -1; end = data.indexOf(newline)) {
      yield data.subarray(0, end);
      data = data.subarray(end + 1);
    }
    // A copy: the piece is a view of a buffer that the reader uses again.
    this.#rest = Buffer.from(data);
  }

  /** Forgets the part: what follows is from another file. */
  reset(): void {
    this.#rest = Buffer.alloc(0);
  }
}

export interface LogSelection {
  /** Only lines from this moment on. */
  readonly sinceMs?: number | undefined;
  /** Show when each line was written. */
  readonly timestamps: boolean;
}

/** Turns log lines into what the container wrote, joining the parts of long lines. */
export class LogPrinter {
  readonly #selection: LogSelection;
  /** Streams in the middle of a line. */
  readonly #open = new Set<LogLine['stream']>();

  constructor(selection: LogSelection) {
    this.#selection = selection;
  }

  /** What to write for a line of the file; undefined for nothing. */
  render(line: LogLine): Buffer | undefined {
    const { sinceMs, timestamps } = this.#selection;
    if (sinceMs !== undefined && Date.parse(line.timestamp) < sinceMs) return undefined;
    const isContinued = this.#open.has(line.stream);
    if (line.isComplete) this.#open.delete(line.stream);
    else this.#open.add(line.stream);
    const prefix = timestamps && !isContinued ? `${line.timestamp} ` : '';
    return Buffer.concat([Buffer.from(prefix), line.text, Buffer.from(line.isComplete ? '\n' : '')]);
  }
}
