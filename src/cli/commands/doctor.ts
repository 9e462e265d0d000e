/** `gantry doctor`: what this host has and lacks, and what to do about it. */
import { Command } from 'commander';
import { socketOption } from '../connection.ts';

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('examine this host, with or without a daemon')
    .addOption(socketOption());
}
