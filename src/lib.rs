//! relay, as a library with a thin binary. The modules stand here in the order of the layers:
//! each uses only those above it in this list, and a test says so.

// Words: plain data and rules without I/O.
pub mod close;
pub mod config;
pub mod headers;
pub mod message;
pub mod session;

// The wire: bytes, and what they are framed as.
pub mod frame;
pub mod outbound;
pub mod transport;

// State: what scripts keep, who is there, and what they are sent.
pub mod store;

pub mod hub;

// Decisions: the script.
pub mod script;

// Doors: sockets and the life of a connection.
pub mod connection;
pub mod listener;
pub mod worker;

// Assembly.
pub mod cli;
pub mod server;
