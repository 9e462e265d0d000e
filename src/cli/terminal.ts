/** The terminal that this process runs in. */
import type { ReadStream } from 'node:tty';

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Passes every key on as it is until disposed; does nothing where standard input is no terminal. */
export function rawTerminal(stdin: ReadStream): Disposable {
  if (!stdin.isTTY) return { [Symbol.dispose]: () => undefined };
  const restore = (): void => void stdin.setRawMode(false);
  stdin.setRawMode(true);
  // The shell that called must get its terminal back however this ends.
  process.once('exit', restore);
  return {
    [Symbol.dispose]() {
      process.off('exit', restore);
      restore();
    },
  };
}

/** Calls back with the size now and after each change until disposed. */
export function watchSize(listener: (size: TerminalSize) => void): Disposable {
  const { stdout } = process;
  if (!stdout.isTTY) return { [Symbol.dispose]: () => undefined };
  const tell = (): void => listener({ columns: stdout.columns, rows: stdout.rows });
  tell();
  stdout.on('resize', tell);
  return { [Symbol.dispose]: () => void stdout.off('resize', tell) };
}
