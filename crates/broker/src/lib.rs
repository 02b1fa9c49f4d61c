//! The `carillon` command: a thin layer over Carillon's crates.
//!
//! Here are the configuration and where its values come from ([`config`]), the files that say who may do what
//! ([`access`]), certificates as files ([`certs`], [`dev`]), the log ([`logging`]), the admin listener ([`admin`]) and the
//! commands that put all of it together ([`commands`]).
//!
//! What is deliberately not here: anything about messages, topics, connections or the protocol. Those are in
//! `carillon-wire`, `carillon-router`, `carillon-listener` and `carillon-client`; what is allowed is decided in
//! `carillon-access`. It is a library only so that its tests
//! reach it; nothing else should depend on it.
//!
//! Start with [`commands::serve`], which shows what a broker is made of, and with [`config::Config`] for what can be set.

pub mod access;
pub mod admin;
pub mod certs;
pub mod commands;
pub mod config;
pub mod dev;
pub mod logging;
mod query;
mod trust;
