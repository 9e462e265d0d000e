import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderTemplate } from './conf-template.ts';

const data = {
  PodCIDR: '10.1.0.0/24',
  PodCIDRRanges: ['10.1.0.0/24', 'fd00:1::/64'],
  Routes: ['0.0.0.0/0', '::/0'],
};
const render = (text: string): string => renderTemplate(text, data);

test('a template of the kind that containerd’s users have becomes JSON', () => {
  const text = `{
  "name": "k8s-pod-network", "cniVersion": "1.0.0",
  "plugins": [{ "type": "ptp", "ipam": { "type": "host-local",
    "subnet": "{{.PodCIDR}}",
    "ranges": [{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}],
    "routes": [{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}]
  } }]
}`;
  const { plugins } = JSON.parse(render(text)) as { plugins: { ipam: object }[] };
  assert.deepEqual(plugins[0]?.ipam, {
    type: 'host-local',
    subnet: '10.1.0.0/24',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  });
});

test('what the templates print is what Go prints', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['{{ .PodCIDRRanges }}', '[10.1.0.0/24 fd00:1::/64]'],
    ['{{index .Routes 1}} {{len .Routes}}', '::/0 2'],
    ['{{range .Routes}}<{{.}}>{{else}}none{{end}}', '<0.0.0.0/0><::/0>'],
    [
      '{{range $route := .Routes}}{{$route}} {{$.PodCIDR}};{{end}}',
      '0.0.0.0/0 10.1.0.0/24;::/0 10.1.0.0/24;',
    ],
    ['a {{- /* not shown */ -}} b {{- if .PodCIDR }} yes{{ else }} no{{ end }}', 'ab yes'],
    ['{{range $i, $x := .Routes}}{{if $i}}more{{else if $x}}first{{end}}{{end}}', 'firstmore'],
  ];
  for (const [text, expected] of cases) assert.equal(render(text), expected, text);
});

test('what is not understood is refused by name, never printed as it stands', () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ['{{.Name}}', /"\.Name" is not known/],
    ['{{$x}}', /"\$x" is not defined/],
    ['{{printf "%s" .PodCIDR}}', /printf.* is not understood/],
    ['{{.PodCIDR | js}}', /is not understood/],
    ['{{range .PodCIDR}}{{end}}', /is not a list/],
    ['{{if .PodCIDR}}', /has no end/],
    ['{{end}}', /does not belong/],
    ['{{.PodCIDR', /is not closed/],
    ['{{index .Routes 7}}', /is out of range/],
    ['{{.}}', /cannot be printed/],
  ];
  for (const [text, message] of cases)
    assert.throws(() => render(text), { kind: 'invalid-argument', message }, text);
});
