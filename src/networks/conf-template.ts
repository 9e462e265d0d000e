/**
 * The part of Go's text/template that CNI configuration templates use (containerd's `conf_template`): fields, variables,
 * `range` with and without variables, `if`/`else`, `index`, `len`, comments and trim markers. All else is refused by name.
 */
import { EngineError } from '../lib/errors.ts';
import { quote } from '../lib/ids.ts';

/** What a template may name: `{{.PodCIDR}}`, `{{range .PodCIDRRanges}}`, `{{range .Routes}}`. */
export interface TemplateData {
  readonly PodCIDR: string;
  readonly PodCIDRRanges: readonly string[];
  readonly Routes: readonly string[];
}

type Value = string | number | readonly string[] | TemplateData;
type Scope = { readonly dot: Value; readonly variables: ReadonlyMap<string, Value> };
type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'print'; readonly expression: string }
  | { readonly kind: 'if'; readonly expression: string; readonly body: Node[]; readonly otherwise: Node[] }
  | {
      readonly kind: 'range';
      readonly names: readonly string[];
      readonly expression: string;
      readonly body: Node[];
      readonly otherwise: Node[];
    };
type Token = { readonly kind: 'text' | 'action'; readonly text: string };

/** @throws EngineError invalid-argument that names the action at fault */
export function renderTemplate(text: string, data: TemplateData): string {
  const tokens = tokenize(text);
  const { nodes, ended } = parseNodes(tokens, 0);
  if (ended !== undefined) throw refuse(ended, 'does not belong to an if or range');
  return renderNodes(nodes, { dot: data, variables: new Map([['$', data]]) });
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = [];
  let rest = text;
  while (rest !== '') {
    const open = rest.indexOf('{{');
    if (open === -1) break;
    const close = rest.indexOf('}}', open);
    if (close === -1) throw refuse(rest.slice(open, open + 40), 'is not closed');
    const action = rest.slice(open + 2, close);
    const before = rest.slice(0, open);
    tokens.push({ kind: 'text', text: /^-\s/.test(action) ? before.trimEnd() : before });
    rest = rest.slice(close + 2);
    if (/\s-$/.test(action)) rest = rest.trimStart();
    const inner = action
      .replace(/^-(?=\s)/, '')
      .replace(/(?<=\s)-$/, '')
      .trim();
    if (!/^\/\*.*\*\/$/s.test(inner)) tokens.push({ kind: 'action', text: inner });
  }
  tokens.push({ kind: 'text', text: rest });
  return tokens;
}

interface Parsed {
  readonly nodes: Node[];
  /** The index after the last token that was used. */
  readonly next: number;
  /** The `end` or `else` that ended it; undefined at the end of the template. */
  readonly ended: string | undefined;
}

function parseNodes(tokens: readonly Token[], start: number): Parsed {
  const nodes: Node[] = [];
  let index = start;
  for (let token = tokens[index]; token !== undefined; token = tokens[index]) {
    index += 1;
    if (token.kind === 'text') nodes.push(token as Node);
    else if (/^(end$|else\b)/.test(token.text)) return { nodes, next: index, ended: token.text };
    else if (/^(if|range)\b/.test(token.text)) {
      const block = parseBlock(tokens, index, token.text);
      nodes.push(block.node);
      index = block.next;
    } else nodes.push({ kind: 'print', expression: token.text });
  }
  return { nodes, next: index, ended: undefined };
}

function parseBlock(tokens: readonly Token[], start: number, action: string): { node: Node; next: number } {
  const body = parseNodes(tokens, start);
  const { otherwise, next } = parseElse(tokens, body, action);
  const range = /^range(?:\s+(\$\w+)(?:\s*,\s*(\$\w+))?\s*:=)?\s+(.+)$/s.exec(action);
  if (range !== null) {
    const names = range.slice(1, 3).filter((name) => name !== undefined);
    return { node: { kind: 'range', names, expression: range[3] ?? '', body: body.nodes, otherwise }, next };
  }
  const expression = /^if\s+(.+)$/s.exec(action)?.[1];
  if (expression === undefined) throw refuse(action, 'is not understood');
  return { node: { kind: 'if', expression, body: body.nodes, otherwise }, next };
}

function parseElse(
  tokens: readonly Token[],
  body: Parsed,
  action: string,
): { otherwise: Node[]; next: number } {
  if (body.ended === 'end') return { otherwise: [], next: body.next };
  if (body.ended === undefined) throw refuse(action, 'has no end');
  const chained = /^else\s+(if\s.+)$/s.exec(body.ended)?.[1];
  if (chained !== undefined) {
    const { node, next } = parseBlock(tokens, body.next, chained);
    return { otherwise: [node], next };
  }
  if (body.ended !== 'else') throw refuse(body.ended, 'is not understood');
  const otherwise = parseNodes(tokens, body.next);
  if (otherwise.ended !== 'end') throw refuse(action, 'has no end');
  return { otherwise: otherwise.nodes, next: otherwise.next };
}

function renderNodes(nodes: readonly Node[], scope: Scope): string {
  return nodes.map((node) => renderNode(node, scope)).join('');
}

function renderNode(node: Node, scope: Scope): string {
  switch (node.kind) {
    case 'text':
      return node.text;
    case 'print':
      return print(node.expression, evaluate(node.expression, scope));
    case 'if':
      return renderNodes(isTrue(evaluate(node.expression, scope)) ? node.body : node.otherwise, scope);
    case 'range':
      return renderRange(node, scope);
  }
}

function renderRange(node: Node & { kind: 'range' }, scope: Scope): string {
  const items = evaluate(node.expression, scope);
  if (!isList(items)) throw refuse(node.expression, 'is not a list');
  if (items.length === 0) return renderNodes(node.otherwise, scope);
  const [first, second] = node.names;
  const rendered = items.map((item, index) => {
    const variables = new Map(scope.variables);
    if (second !== undefined) variables.set(second, item);
    if (first !== undefined) variables.set(first, second === undefined ? item : index);
    return renderNodes(node.body, { dot: item, variables });
  });
  return rendered.join('');
}

function evaluate(expression: string, scope: Scope): Value {
  const call = /^(index|len)\s+(\S+)(?:\s+(\S+))?$/.exec(expression);
  if (call === null) return operand(expression, scope);
  const [, name, of = '', at] = call;
  const list = operand(of, scope);
  if (!isList(list)) throw refuse(of, 'is not a list');
  if (name === 'len') return list.length;
  const item = list[Number(operand(at ?? '', scope))];
  if (item === undefined) throw refuse(expression, 'is out of range');
  return item;
}

function operand(text: string, scope: Scope): Value {
  if (text === '.') return scope.dot;
  if (/^\d+$/.test(text)) return Number(text);
  const path = /^(\$\w*)?(?:\.(\w+))?$/.exec(text);
  if (path === null || text === '') throw refuse(text, 'is not understood');
  const [, variable, field] = path;
  const base = variable === undefined ? scope.dot : scope.variables.get(variable);
  if (base === undefined) throw refuse(text, 'is not defined');
  return field === undefined ? base : fieldOf(base, field, text);
}

function fieldOf(base: Value, field: string, text: string): Value {
  if (typeof base === 'object' && 'PodCIDR' in base) {
    switch (field) {
      case 'PodCIDR':
      case 'PodCIDRRanges':
      case 'Routes':
        return base[field];
    }
  }
  throw refuse(text, 'is not known (PodCIDR, PodCIDRRanges, Routes)');
}

function isList(value: Value): value is readonly string[] {
  return Array.isArray(value);
}

function isTrue(value: Value): boolean {
  return isList(value) ? value.length > 0 : value !== '' && value !== 0;
}

/** As Go prints it. */
function print(expression: string, value: Value): string {
  if (isList(value)) return `[${value.join(' ')}]`;
  if (typeof value === 'object') throw refuse(expression, 'cannot be printed');
  return String(value);
}

function refuse(action: string, why: string): EngineError {
  return new EngineError('invalid-argument', `template action ${quote(action)} ${why}`);
}
