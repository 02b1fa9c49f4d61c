//! Slow header (slowloris): behind a good TLS handshake the attackers begin an HTTP request and add a byte now and then.
//!
//! The broker ends each at the request's deadline and counts `http_timeout`. An attacker costs a TLS connection and what
//! it has sent so far.

use std::time::Duration;

use super::Attack;
use crate::{hostile::trickle, scene::Scene, settings::Holdings};

const CONNECTIONS: usize = 300;

pub(super) const ATTACK: Attack = Attack {
    name: "slow_header",
    does: "300 connections send an HTTP request's head, a byte every 300 ms",
    bound: "deadlines.http_head_seconds",
    holds: |size| Holdings { handshakes: size.of(CONNECTIONS), requests: size.of(CONNECTIONS), ..Holdings::default() },
    run: |scene| scene.run(scene.size.of(CONNECTIONS), attack),
    judge: |evidence, complaints| {
        complaints.unless_all_ended(evidence);
        complaints.unless_counted(evidence, &["carillon_handshake_failures_total{reason=\"http_timeout\"}"]);
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let tls = scene.target.tls(scene.address(number)).await?;
    let request = format!("GET /ws HTTP/1.1\r\nHost: localhost\r\nX-Slow: {}", "a".repeat(4096));
    trickle(tls, request.as_bytes(), Duration::from_millis(300), &scene).await;
    Ok(())
}
