//! The threads of the load. Each has its own runtime and its own connections, and shares nothing with the others but what
//! it is handed.

use std::{pin::Pin, rc::Rc, thread};

use rustix::thread::gettid;
use tokio::{
    runtime::{Builder, LocalOptions},
    sync::{mpsc, oneshot},
    task::spawn_local,
};

use crate::RunError;

type Job<W> = Box<dyn FnOnce(Rc<W>) -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Threads that each have a `W` and do what they are asked to.
///
/// Dropping it ends them, with all their connections.
#[derive(Debug)]
pub(crate) struct Crew<W> {
    members: Vec<Member<W>>,
}

#[derive(Debug)]
struct Member<W> {
    jobs: mpsc::UnboundedSender<Job<W>>,
    thread: Option<thread::JoinHandle<()>>,
    id: i32,
}

impl<W: 'static> Crew<W> {
    /// Starts threads, each of which makes its own `W`.
    pub(crate) async fn start(
        threads: usize,
        make: impl FnOnce(usize) -> W + Clone + Send + 'static,
    ) -> Result<Self, RunError> {
        let mut crew = Self { members: Vec::with_capacity(threads) };
        for number in 0..threads {
            let (jobs, received) = mpsc::unbounded_channel();
            let (started, has_started) = oneshot::channel();
            let make = make.clone();
            let thread = thread::Builder::new().name(format!("load-{number}")).spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
                let runtime = match runtime {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = started.send(Err(error));
                        return;
                    }
                };
                let _ = started.send(Ok(gettid().as_raw_nonzero().get()));
                runtime.block_on(serve(Rc::new(make(number)), received));
            })?;
            let id = has_started.await.map_err(|_| RunError::ThreadEnded)?.map_err(RunError::Machine)?;
            crew.members.push(Member { jobs, thread: Some(thread), id });
        }
        Ok(crew)
    }

    /// Has each thread do this, all at the same time, and waits for all.
    pub(crate) async fn each<R, F, Fut>(&self, job: F) -> Result<Vec<R>, RunError>
    where
        R: Send + 'static,
        F: FnOnce(Rc<W>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = R> + 'static,
    {
        let mut answers = Vec::with_capacity(self.members.len());
        for member in &self.members {
            let (answer, answered) = oneshot::channel();
            let job = job.clone();
            let boxed: Job<W> = Box::new(move |worker| {
                Box::pin(async move {
                    // Nobody waits any more where the run was given up.
                    let _ = answer.send(job(worker).await);
                })
            });
            member.jobs.send(boxed).map_err(|_| RunError::ThreadEnded)?;
            answers.push(answered);
        }
        let mut results = Vec::with_capacity(answers.len());
        for answered in answers {
            results.push(answered.await.map_err(|_| RunError::ThreadEnded)?);
        }
        Ok(results)
    }

    /// What the system calls the threads.
    pub(crate) fn thread_ids(&self) -> Vec<i32> {
        self.members.iter().map(|member| member.id).collect()
    }
}

async fn serve<W: 'static>(worker: Rc<W>, mut jobs: mpsc::UnboundedReceiver<Job<W>>) {
    while let Some(job) = jobs.recv().await {
        spawn_local(job(Rc::clone(&worker)));
    }
}

impl<W> Drop for Crew<W> {
    fn drop(&mut self) {
        for Member { jobs, thread, .. } in self.members.drain(..).collect::<Vec<_>>() {
            drop(jobs);
            if let Some(thread) = thread {
                // One that panicked has said so.
                let _ = thread.join();
            }
        }
    }
}
