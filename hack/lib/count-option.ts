/** The number that an option of a command line gives. @throws Error saying what it must be */
export function countOption(option: string, value: string): number {
  if (!/^[1-9][0-9]?$/.test(value))
    throw new Error(`${option} is ${value}: it must be a number from 1 to 99`);
  return Number(value);
}
