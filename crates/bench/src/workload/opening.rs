//! Opens many connections, a few at a time.

use std::{cell::RefCell, io, rc::Rc};

use tokio::task::JoinSet;

use crate::{
    Dialect, RunError,
    connection::{Connection, Opener},
};

/// So many are under way at once, of all threads together, where a workload does not say otherwise.
const AT_ONCE: usize = 64;

/// Opens a connection for each number, and hands each over as soon as it is there. Ends with the first that cannot be opened.
pub(crate) async fn open_many<D, C, F>(
    opener: &Opener<D>,
    context: C,
    numbers: impl Iterator<Item = usize> + 'static,
    open: F,
    mut opened: impl FnMut(usize, Connection<D>),
) -> Result<(), RunError>
where
    D: Dialect,
    C: Clone + 'static,
    F: AsyncFn(Opener<D>, C, usize) -> io::Result<Connection<D>> + Clone + 'static,
{
    let mut under_way = JoinSet::new();
    let numbers = Rc::new(RefCell::new(numbers));
    let (handed, mut taken) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..AT_ONCE.div_ceil(opener.load().threads) {
        let (opener, context, open) = (opener.clone(), context.clone(), open.clone());
        let (numbers, handed) = (Rc::clone(&numbers), handed.clone());
        under_way.spawn_local(async move {
            loop {
                let Some(number) = numbers.borrow_mut().next() else { return };
                let connection = open(opener.clone(), context.clone(), number).await;
                if handed.send((number, connection)).is_err() {
                    return;
                }
            }
        });
    }
    drop(handed);
    while let Some((number, connection)) = taken.recv().await {
        let connection = connection.map_err(|reason| RunError::Open { number, reason })?;
        opened(number, connection);
    }
    Ok(())
}
