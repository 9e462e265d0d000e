/** Layers with real web servers of Debian: nginx, and Apache's httpd. */
import { existsSync } from 'node:fs';
import { type BuiltLayer, buildLayer } from '../../../src/images/testing/build-image.ts';
import { directory, programEntries } from './rootfs.ts';

/** nginx with one page on `port`, its logs on stdout and stderr, its pid in /run/nginx.pid; the command is `nginxCommand`. */
export async function nginxLayer(port: number): Promise<BuiltLayer> {
  const configuration = `user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events {}
http {
  access_log /dev/stdout;
  server { listen ${port}; listen [::]:${port}; root /usr/share/nginx/html; }
}
`;
  return await buildLayer([
    ...['etc/nginx', 'usr/share/nginx', 'usr/share/nginx/html', 'var/log/nginx', 'var/lib/nginx'].map(
      (name) => directory(name),
    ),
    ...programEntries('/usr/sbin/nginx'),
    { name: 'etc/nginx/nginx.conf', content: configuration },
    {
      name: 'usr/share/nginx/html/index.html',
      content: '<title>Welcome to nginx!</title>\n<h1>Welcome to nginx!</h1>\n',
    },
  ]);
}

export const nginxCommand = ['nginx', '-g', 'daemon off;'];

const httpdModules = ['mpm_event', 'authz_core', 'dir'];

/** Apache under its own name, httpd, on port 80, its logs on stdout and stderr; the command is `httpdCommand`. */
export async function httpdLayer(): Promise<BuiltLayer> {
  const modules = httpdModules
    .map((name) => ({ name, path: `/usr/lib/apache2/modules/mod_${name}.so` }))
    // What is built into the program has no file.
    .filter(({ path }) => existsSync(path));
  const configuration = `ServerName localhost
Listen 80
PidFile /run/httpd.pid
ErrorLog /dev/stderr
LogLevel notice
User www-data
Group www-data
${modules.map(({ name, path }) => `LoadModule ${name}_module ${path}\n`).join('')}
DocumentRoot /usr/local/apache2/htdocs
DirectoryIndex index.html
`;
  return await buildLayer([
    ...['usr/local/apache2', 'usr/local/apache2/htdocs', 'usr/local/apache2/conf'].map((name) =>
      directory(name),
    ),
    ...programEntries('/usr/sbin/apache2', ...modules.map(({ path }) => path)).map((entry) =>
      entry.name === 'usr/sbin/apache2' ? { ...entry, name: 'usr/local/bin/httpd' } : entry,
    ),
    { name: 'usr/local/apache2/conf/httpd.conf', content: configuration },
    {
      name: 'usr/local/apache2/htdocs/index.html',
      content: '<html><body><h1>It works!</h1></body></html>\n',
    },
  ]);
}

export const httpdCommand = ['httpd', '-f', '/usr/local/apache2/conf/httpd.conf', '-D', 'FOREGROUND'];
