const messageLines = 30;
/** Some failures print whole objects on one line. */
const messageColumns = 400;

/** What a spec says about its failure, cut to what a terminal can show below the spec's name. */
export function failureMessage(text: string): string {
  const lines = text.trimEnd().split('\n');
  const shown = lines.length > messageLines ? [...lines.slice(0, messageLines), '...'] : lines;
  return shown.map((line) => `    ${line.slice(0, messageColumns)}`).join('\n');
}
