//! Many clients that come, stall and go, while the broker is restarted every few seconds.

use std::{
    io,
    time::{Duration, Instant},
};

use rand::Rng;
use tokio::time::sleep;

use super::{
    run::{Options, Run, Summary},
    site::Site,
    subscriber::Habits,
    trouble::Torture,
};

/// The longest that the broker runs.
const LIFE: Duration = Duration::from_secs(6);
/// Publications of all publishers together, each time: so many that slow readers fall behind, and so few that a slow machine
/// goes on.
const PUBLICATIONS: usize = 40;
const EACH: Duration = Duration::from_millis(25);
/// And sometimes so many at once, which stalled readers cannot keep up with.
const BURST: usize = 6_000;
const ONE_OF: f64 = 0.01;

const HABITS: Habits = Habits {
    stall: Duration::from_secs(3),
    stall_one_of: 60,
    stay: Duration::from_secs(12),
    away: Duration::from_secs(2),
};

/// Lets so many clients read for so long, while they and the broker are disturbed at random. At the end each must have
/// exactly what its streams have.
pub fn chaos(options: &Options, lasts: Duration, clients: usize) -> Result<Summary, Torture> {
    let site = Site::make(options)?;
    Run::conduct(options, site, async |run| go_on_for(run, lasts, clients).await)
}

async fn go_on_for(run: &mut Run, lasts: Duration, clients: usize) -> io::Result<()> {
    run.begin(clients, HABITS)?;
    let until = Instant::now() + lasts;
    while Instant::now() < until {
        run.rounds += 1;
        let over = Instant::now() + run.some_time(LIFE);
        let load = run.load(0, true);
        while Instant::now() < over {
            load.pace.add(if run.random.random_bool(ONE_OF) { BURST } else { PUBLICATIONS });
            sleep(EACH).await;
        }
        load.pace.stop();
        if run.random.random_bool(0.5) {
            run.kill();
        } else {
            run.terminate().await?;
        }
        // Publishers go on until all that they have begun is answered, by the next broker.
        run.start()?;
        run.end_load(load).await?;
        run.room.verdict()?;
        run.tell(format_args!("restart {}", run.rounds));
    }
    run.set_habits(Habits::CALM);
    run.settle().await?;
    run.check(true).await?;
    run.terminate().await
}
