//! Header flood: requests with a huge header, with a thousand headers, with a huge path; each on a connection of its own,
//! as fast as they can. Beside the heads it is a flood of whole TLS handshakes.
//!
//! The broker answers 431 (or 414 for the path) as soon as `limits.max_http_head_bytes` or 100 headers are passed, and ends
//! the connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Attack;
use crate::{hostile::count_status, scene::Scene, settings::Holdings};

/// At once.
const CONNECTIONS: usize = 32;

pub(super) const ATTACK: Attack = Attack {
    name: "header_flood",
    does: "32 at a time, and again and again, send huge or very many HTTP headers",
    bound: "limits.max_http_head_bytes, and 100 headers",
    holds: |_| Holdings { handshakes: 2 * CONNECTIONS, requests: 2 * CONNECTIONS, ..Holdings::default() },
    run: |scene| scene.run(CONNECTIONS, attack),
    judge: |evidence, complaints| {
        complaints.unless_seen(evidence, &["status 431", "could not"]);
        let others = evidence.of("status") - evidence.of("status 431") - evidence.of("status 414");
        complaints.unless(others == 0, || format!("{others} requests had another answer than 431 or 414"));
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let start = "GET /ws HTTP/1.1\r\nHost: localhost\r\n";
    let request = match number % 3 {
        0 => format!("{start}X-Large: {}\r\n\r\n", "a".repeat(64 << 10)),
        1 => format!("{start}{}\r\n", "X-Many: 1\r\n".repeat(1_000)),
        _ => format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "p".repeat(64 << 10)),
    };
    scene
        .again(async || {
            let mut tls = scene.target.tls(scene.address(number)).await?;
            // The broker need not read all of it.
            let _ = tls.write_all(request.as_bytes()).await;
            let _ = tls.flush().await;
            let mut answer = Vec::new();
            let _ = tls.read_to_end(&mut answer).await;
            count_status(&answer, &scene.tally);
            Ok(())
        })
        .await;
    Ok(())
}
