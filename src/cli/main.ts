#!/usr/bin/env node
/** `gantry`: the command line. One line on standard error for what went wrong; exit code 1, or 2 for wrong usage. */
import { CommanderError } from 'commander';
import { errnoOf, messageOf } from '../lib/errors.ts';
import { runProgram } from './program.ts';

const exitUsage = 2;

// `gantry ... | head` has read enough: nothing is wrong.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error) => process.exit(errnoOf(error) === 'EPIPE' ? 0 : 1));

async function main(argv: readonly string[]): Promise<number> {
  try {
    await runProgram(argv);
    return Number(process.exitCode ?? 0);
  } catch (error) {
    // Commander has said it already.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : exitUsage;
    process.stderr.write(`gantry: ${messageOf(error).replaceAll(/\s*\n\s*/g, ' ')}\n`);
    return 1;
  }
}

const exitCode = await main(process.argv.slice(2));
// Standard input may still be open for reading: what was written leaves, then it is over.
for (const stream of [process.stdout, process.stderr])
  await new Promise<void>((resolve) => stream.write('', () => resolve()));
process.exit(exitCode);
