//! nginx with Nchan.

use std::{fs, io, process::Command};

use carillon_benches::server::{Running, free_ports};

use super::Part;
use crate::site::Site;

pub(crate) const PROGRAM: &str = "/usr/sbin/nginx";
const MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";
pub(crate) const PARTS: [Part; 2] =
    [Part { file: PROGRAM, package: "nginx" }, Part { file: MODULE, package: "libnginx-mod-nchan" }];

/// One worker, and the process that watches over it. It knows no users: whoever may publish or read would be asked for at
/// another server, which would cost it more than the others.
pub(crate) fn start(site: &Site) -> io::Result<Running> {
    let [port] = free_ports()?;
    let home = site.files.path("nginx");
    fs::create_dir_all(&home)?;
    let home = home.display();
    // A subscriber reads messages out of a channel's buffer, so that must hold what a slow one has not read.
    let config = format!(
        "load_module {MODULE};
user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile 12000;
pid {home}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 12000; }}
http {{
  access_log off;
  tcp_nodelay on;
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  nchan_shared_memory_size 512M;
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_ecdh_curve X25519;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    nchan_message_buffer_length 20000;
    nchan_message_timeout 30s;
    location ~ ^/sub/(.+)$ {{
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }}
    location ~ ^/pub/(.+)$ {{
      nchan_publisher websocket;
      nchan_channel_id $1;
    }}
  }}
}}
",
        certificate = site.files.certificate().display(),
        key = site.files.key().display(),
    );
    let path = site.files.path("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new(PROGRAM);
    command.arg("-c").arg(&path).arg("-p").arg(site.files.path("nginx"));
    Running::start(&mut command, port, &site.files.path("nginx.log"))?.watched_over()
}
