//! The workloads: each the struct of its settings, and how it is run.

pub(crate) mod churn;
pub(crate) mod connect;
pub(crate) mod fan_out;
pub(crate) mod idle;
mod keeping;
mod opening;
pub(crate) mod publish;
pub(crate) mod replay;
pub(crate) mod storm;
mod watching;
