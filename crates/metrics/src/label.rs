//! Labels that are enums, and the fixed tables of instruments that they index.

use std::fmt;

/// A label whose values are all known when the program is compiled.
///
/// Define one with the `labels!` macro of this crate, which keeps [`ALL`](Self::ALL), names and indexes in step.
pub trait Label: Copy + fmt::Debug + 'static {
    /// One `T` for each value, side by side in memory: a table must not leave the cache lines of the shard that owns it.
    type Table<T>: AsRef<[T]>;

    /// Every value, in the order of their indexes.
    const ALL: &'static [Self];

    /// The label's value as Prometheus shows it, in `snake_case`.
    fn name(self) -> &'static str;

    /// The place of this value in [`ALL`](Self::ALL).
    fn index(self) -> usize;

    /// Makes a table, one call of `make` for each value.
    fn table<T>(make: impl FnMut() -> T) -> Self::Table<T>;
}

/// One instrument for each value of a label.
pub struct Labelled<E: Label, T>(E::Table<T>);

impl<E: Label, T> Labelled<E, T> {
    /// The instrument for this value of the label.
    #[expect(clippy::indexing_slicing, reason = "a label's index is its place in ALL, and the table is as long as ALL")]
    pub fn of(&self, label: E) -> &T {
        &self.0.as_ref()[label.index()]
    }

    /// Each value of the label with its instrument.
    pub fn iter(&self) -> impl Iterator<Item = (E, &T)> {
        E::ALL.iter().copied().zip(self.0.as_ref())
    }
}

impl<E: Label, T: Default> Default for Labelled<E, T> {
    fn default() -> Self {
        Self(E::table(T::default))
    }
}

impl<E: Label, T: fmt::Debug> fmt::Debug for Labelled<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Defines enums that are [`Label`]s: each variant is written with its documentation and its name in Prometheus.
macro_rules! labels {
    ($($(#[$doc:meta])* pub enum $label:ident { $($(#[$variant_doc:meta])* $variant:ident = $name:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $label {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $crate::Label for $label {
            type Table<T> = [T; [$($name),+].len()];

            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }

            fn table<T>(mut make: impl FnMut() -> T) -> Self::Table<T> {
                ::std::array::from_fn(|_| make())
            }
        }
    )+};
}
pub(crate) use labels;
