//! relay, as a library with a thin binary. The modules stand here in the order of the layers: each
//! uses only those above it in this list. A test keeps the layers apart.

// Words: plain data and rules without I/O.
pub mod close;
pub mod config;
pub mod headers;
pub mod message;
pub mod panics;
pub mod rate;
pub mod session;
pub mod threads;
pub mod waiting;
pub mod watch;

// The way of the log.
pub mod log;

// The wire: bytes, and what they are framed as.
pub mod frame;
pub mod transport;

pub mod outbound;

// State: what scripts keep, who is there, and what they are sent.
pub mod store;

pub mod hub;

// Decisions: the script.
pub mod script;

// Doors: the page for browsers, who gets in, the life of a connection, and sockets.
pub mod http;

pub mod admission;

pub mod connection;

pub mod worker;

pub mod listener;

// Assembly.
pub mod cli;
pub mod server;
