//! Half-open: 10,000 TCP connections that say nothing at all; once each from an address of its own, once all from one.
//!
//! The broker ends each at the deadline of the TLS handshake. An attacker costs a socket and the smallest task there is;
//! those above a limit on connections or handshakes are closed at once.

use std::{
    io,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{sleep, timeout_at},
};

use super::{Attack, Complaints, Evidence};
use crate::{
    hostile::{ENDED, STILL_OPEN},
    scene::{Scene, Size},
    settings::Holdings,
};

const CONNECTIONS: usize = 10_000;
/// Connections that are begun before the kernel's queue gets a moment.
const BURST: usize = 128;

pub(super) const FROM_MANY: Attack = Attack {
    name: "half_open",
    does: "10,000 TCP connections that say nothing, from 10,000 addresses",
    bound: "deadlines.tls_handshake_seconds, quotas.broker.handshakes, quotas.broker.connections",
    holds,
    run: |scene| Box::pin(attack(scene, Scene::address)),
    judge,
};

pub(super) const FROM_ONE: Attack = Attack {
    name: "half_open_one_address",
    does: "10,000 TCP connections that say nothing, from one address",
    bound: "quotas.address.handshakes, quotas.address.connections",
    holds,
    run: |scene| Box::pin(attack(scene, |scene, _| scene.address(0))),
    judge,
};

fn holds(size: Size) -> Holdings {
    Holdings { handshakes: size.of(CONNECTIONS), ..Holdings::default() }
}

fn judge(evidence: &Evidence, complaints: &mut Complaints) {
    complaints.unless_all_ended(evidence);
    complaints.unless_counted(
        evidence,
        &["carillon_handshake_failures_total{reason=\"tls_timeout\"}", "carillon_connections_refused_total"],
    );
}

async fn attack(scene: Scene, address: fn(&Scene, usize) -> Ipv4Addr) -> io::Result<()> {
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..scene.size.of(CONNECTIONS) {
        match scene.target.tcp(address(&scene, number)).await {
            Ok(tcp) => drop(waiting.spawn_local(wait_for_end(tcp, scene.clone()))),
            Err(error) => scene.tally.count(format!("could not: {error}")),
        }
        if number % BURST == BURST - 1 {
            sleep(Duration::from_millis(5)).await;
        }
    }
    while waiting.join_next().await.is_some() {}
    Ok(())
}

async fn wait_for_end(mut tcp: TcpStream, scene: Scene) {
    let started = Instant::now();
    match timeout_at(scene.gives_up().into(), tcp.read_u8()).await {
        Ok(Err(_)) => {
            scene.tally.count(ENDED);
            let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            scene.tally.largest("ms until the last was ended", ms);
        }
        Ok(Ok(_)) => scene.tally.count("was answered"),
        Err(_) => scene.tally.count(STILL_OPEN),
    }
}
