//! A disk that fails, and one that is full.

use std::{
    fs::{self, File},
    io::{self, Error},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use super::{
    broker::PATIENCE,
    clients::Room,
    plan::{Keeps, STREAMS, StreamPlan},
    run::{Load, Options, Run, Summary},
    site::Site,
    subscriber::Habits,
    trouble::{Torture, broken},
    volume::{self, FileSystem, Volume},
};

/// Calls of the operating system that fail: strace's `inject`. `when` counts those of each thread.
const FAULTS: [&str; 7] = [
    "fdatasync:error=EIO:when=5",
    "fdatasync:error=EIO:when=3+",
    "pwrite64:error=EIO:when=7+",
    "pwrite64:error=ENOSPC:when=7+",
    "fsync:error=EIO:when=1",
    "openat:error=EMFILE:when=1+",
    "fdatasync:error=ENOSPC:delay_enter=20000:when=4+",
];
/// Publications of one load: as many as it takes until the fault comes.
const PUBLICATIONS: usize = 1_000_000;
const SUBSCRIBERS: usize = 6;
/// How large the disk is that fills up, and how much room there is at first.
const DISK_BYTES: u64 = 64 << 20;
const ROOM_BYTES: u64 = 8 << 20;
/// What an operator lets a stream keep when the disk is full.
const FEWER_MESSAGES: u64 = 500;

/// Lets calls of the broker fail while it runs, by strace.
pub fn faults(options: &Options) -> Result<Summary, Torture> {
    let version = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        return Err(Torture::NotMade("there is no strace".to_owned()));
    }
    let site = Site::make(options)?;
    Run::conduct(options, site, all_faults)
}

async fn all_faults(run: &mut Run) -> io::Result<()> {
    run.begin(SUBSCRIBERS, Habits::CALM)?;
    for (number, fault) in FAULTS.iter().enumerate() {
        run.rounds += 1;
        let load = run.load(PUBLICATIONS, true);
        sleep(Duration::from_millis(200)).await;
        let injector = Injector::attach(run.broker()?.pid(), fault)?;
        store_fails(run).await?;
        refuses(run, &load).await?;
        drop(injector);
        // That it would work again is no reason to: what was in flight is not known.
        sleep(Duration::from_millis(300)).await;
        is_ready(run, false)?;
        if number % 2 == 0 {
            reopen(run)?;
        } else {
            run.kill();
            run.start()?;
        }
        is_ready(run, true)?;
        run.end_load(load).await?;
        run.settle().await?;
        run.check(true).await?;
        run.tell(fault);
    }
    run.terminate().await
}

/// Lets the disk run full, twice. Needs root, to mount one.
pub fn disk_full(options: &Options) -> Result<Summary, Torture> {
    volume::is_possible(FileSystem::Ext4, false)?;
    let mut site = Site::make(options)?;
    let volume = Volume::make(site.path(), FileSystem::Ext4, DISK_BYTES)?;
    let ballast = volume.path().join("ballast");
    site.use_volume(volume)?;
    let free = rustix::fs::statvfs(ballast.parent().unwrap_or(&ballast)).map_err(io::Error::from)?;
    File::create_new(&ballast)?;
    let left = (free.f_bavail * free.f_frsize).saturating_sub(ROOM_BYTES);
    rustix::fs::fallocate(File::options().write(true).open(&ballast)?, rustix::fs::FallocateFlags::empty(), 0, left)
        .map_err(io::Error::from)?;
    Run::conduct(options, site, async move |run| fill_twice(run, &ballast).await)
}

async fn fill_twice(run: &mut Run, ballast: &Path) -> io::Result<()> {
    run.begin(SUBSCRIBERS, Habits::CALM)?;
    run.rounds = 1;
    let load = run.load(PUBLICATIONS, true);
    store_fails(run).await?;
    refuses(run, &load).await?;
    run.tell("the disk is full");
    keep_fewer(run).await?;
    // The room that retention has made takes a moment to be free.
    let opened = wait_for(run, || Ok(reopen(run).is_ok()), "retention made room, and the store cannot be opened").await;
    opened.or_else(|late| reopen(run).map_err(|why| broken(format!("{late}: {why}"))))?;
    is_ready(run, true)?;
    run.end_load(load).await?;
    run.settle().await?;
    run.check(true).await?;
    run.tell("an operator let a stream keep less");

    run.rounds = 2;
    let load = run.load(PUBLICATIONS, true);
    store_fails(run).await?;
    refuses(run, &load).await?;
    // Even now it has to start, and to give what it has.
    run.kill();
    run.start()?;
    read_streams(run).await?;
    fs::remove_file(ballast)?;
    if run.broker()?.ask("GET", "/readyz")?.0 != 200 {
        reopen(run)?;
    }
    is_ready(run, true)?;
    run.end_load(load).await?;
    run.settle().await?;
    run.check(true).await?;
    run.tell("the disk got more room");
    run.terminate().await
}

/// Streams are to keep less, so that retention makes room where there is none. All of them: they share files, and these are
/// taken away as a whole.
async fn keep_fewer(run: &mut Run) -> io::Result<()> {
    let unbounded: Vec<_> = (0..STREAMS.len()).filter(|stream| is_unbounded(&STREAMS[*stream])).collect();
    for stream in &unbounded {
        run.site.extra.push((STREAMS[*stream].name, format!("max_messages = {FEWER_MESSAGES}")));
        run.room.books(|books| books.ledger_mut(*stream).newest = Some(FEWER_MESSAGES));
    }
    run.site.write_config()?;
    run.broker()?.signal(Signal::HUP)?;
    for stream in unbounded {
        let series = format!("carillon_stream_messages{{stream=\"{}\"}}", STREAMS[stream].name);
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        let is_less = || Ok(run.broker()?.metric(&series)? <= FEWER_MESSAGES as f64);
        wait_for(run, is_less, "retention made no room").await?;
    }
    Ok(())
}

fn is_unbounded(plan: &StreamPlan) -> bool {
    !plan.is_in_memory && plan.keeps == Keeps::Everything
}

/// The store has to notice, and to say so wherever one looks.
async fn store_fails(run: &Run) -> io::Result<()> {
    let is_failed = || Ok(run.broker()?.ask("GET", "/readyz")?.0 == 503);
    wait_for(run, is_failed, "the disk failed, and /readyz says that all is well").await?;
    let (_, reasons) = run.broker()?.ask("GET", "/readyz")?;
    if !reasons.contains("store") {
        return Err(broken(format!("the disk failed, and /readyz says {reasons:?}")));
    }
    let is_counted = || Ok(run.broker()?.metric("carillon_store_failed")? >= 1.0);
    wait_for(run, is_counted, "carillon_store_failed is 0, and the store has failed").await
}

/// Publishers are refused, and readers read.
async fn refuses(run: &mut Run, load: &Load) -> io::Result<()> {
    let refused = |room: &Room| room.books(|books| books.counts.refused);
    let before = refused(&run.room);
    let is_refused = || Ok(refused(&run.room) > before);
    wait_for(run, is_refused, "the store has failed, and no publication is refused").await?;
    // Those for the disk are tried again until it takes them.
    load.pace.stop();
    read_streams(run).await
}

async fn read_streams(run: &mut Run) -> io::Result<()> {
    run.read_streams().await
}

/// Waits as long as publications are taken: how fast a disk fills up is the machine's matter.
async fn wait_for(run: &Run, mut is_so: impl FnMut() -> io::Result<bool>, missing: &str) -> io::Result<()> {
    let acknowledged = || run.room.books(|books| books.counts.acknowledged);
    let (mut known, mut since) = (acknowledged(), tokio::time::Instant::now());
    while !is_so()? {
        run.room.verdict()?;
        let now = acknowledged();
        if now > known {
            (known, since) = (now, tokio::time::Instant::now());
        }
        if since.elapsed() > PATIENCE {
            return Err(broken(missing));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn is_ready(run: &Run, expected: bool) -> io::Result<()> {
    let (status, reasons) = run.broker()?.ask("GET", "/readyz")?;
    let failed = run.broker()?.metric("carillon_store_failed")?;
    if (status == 200, failed < 1.0) == (expected, expected) {
        return Ok(());
    }
    let not = if expected { "" } else { "not " };
    Err(broken(format!("the broker should {not}be ready; it is {status} {reasons}, carillon_store_failed {failed}")))
}

fn reopen(run: &Run) -> io::Result<()> {
    match run.broker()?.ask("POST", "/store/reopen")? {
        (200..=299, _) => Ok(()),
        (status, body) => Err(broken(format!("POST /store/reopen: {status} {body}"))),
    }
}

/// strace at a running process. It lets go when this is dropped.
struct Injector(Child);

impl Injector {
    fn attach(pid: u32, fault: &str) -> io::Result<Self> {
        let calls = fault.split(':').next().unwrap_or_default();
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-p", &pid.to_string()]);
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={fault}")]);
        Ok(Self(strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        // It detaches by this signal; killed, it would leave the broker stopped.
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        let _ = pid.map_or(Err(Error::other("no process id")), |pid| Ok(kill_process(pid, Signal::TERM)?));
        let _ = self.0.wait();
    }
}
