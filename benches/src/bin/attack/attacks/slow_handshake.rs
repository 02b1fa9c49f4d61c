//! Slow handshake: the attackers connect and send their TLS `ClientHello` a byte a second.
//!
//! The broker ends each without an answer at its deadline, and counts `tls_timeout`. An attacker costs a socket and what
//! it has sent so far.

use std::time::Duration;

use super::Attack;
use crate::{hostile::trickle, scene::Scene, settings::Holdings};

const CONNECTIONS: usize = 500;

pub(super) const ATTACK: Attack = Attack {
    name: "slow_handshake",
    does: "500 connections send a TLS ClientHello, a byte a second",
    bound: "deadlines.tls_handshake_seconds",
    holds: |size| Holdings { handshakes: size.of(CONNECTIONS), ..Holdings::default() },
    run: |scene| scene.run(scene.size.of(CONNECTIONS), attack),
    judge: |evidence, complaints| {
        complaints.unless_all_ended(evidence);
        complaints.unless_counted(evidence, &["carillon_handshake_failures_total{reason=\"tls_timeout\"}"]);
    },
};

async fn attack(scene: Scene, number: usize) -> std::io::Result<()> {
    let hello = scene.target.client_hello()?;
    let tcp = scene.target.tcp(scene.address(number)).await?;
    trickle(tcp, &hello, Duration::from_secs(1), &scene).await;
    Ok(())
}
