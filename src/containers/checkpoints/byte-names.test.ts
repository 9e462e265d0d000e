import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameOfText, textOfName } from './byte-names.ts';

const latin1 = (bytes: Buffer): string => bytes.toString('latin1');
const utf8 = (text: string): string => latin1(Buffer.from(text));

const names: readonly (readonly [what: string, name: string, text: string])[] = [
  ['ASCII', 'etc/passwd', 'etc/passwd'],
  ['UTF-8 of two, three and four bytes', utf8('ä€😀'), 'ä€😀'],
  ['the replacement character itself', utf8('\u{fffd}'), '\u{fffd}'],
  ['a byte order mark', utf8('\u{feff}a'), '\u{feff}a'],
  ['ISO 8859-1', 'caf\xe9', 'caf\udce9'],
  ['a byte that is never UTF-8, before a character that is', `\xff${utf8('😀')}`, '\udcff😀'],
  ['a character that is cut off', `${utf8('😀').slice(0, 3)}/a`, '\udcf0\udc9f\udc98/a'],
  ['a slash in two bytes', '\xc0\xaf', '\udcc0\udcaf'],
  ['half of a surrogate pair, as CESU-8 writes it', '\xed\xa0\x80', '\udced\udca0\udc80'],
  ['beyond Unicode', '\xf4\x90\x80\x80', '\udcf4\udc90\udc80\udc80'],
];

for (const [what, name, text] of names)
  test(`${what}: the same bytes again, also through JSON`, () => {
    assert.equal(textOfName(name), text);
    assert.equal(nameOfText(text), name);
    assert.equal(nameOfText(JSON.parse(JSON.stringify(text)) as string), name);
  });

test('every byte comes back', () => {
  const all = latin1(Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)));
  assert.equal(nameOfText(textOfName(all)), all);
});

for (const text of ['\ud800', 'a\udbff', '\udc00', '\udc2f', '\udc7f', '\udd00', '\udfff'])
  test(`${JSON.stringify(text)} stands for no byte: an escaped slash or dot is none`, () => {
    assert.equal(nameOfText(text), undefined);
  });
