//! The relay from outside: a real server with the shipped config and script, real sockets, real
//! clients. One binary, so that the relay is linked once; a module for each subject.

#[macro_use]
mod harness;
mod client;
mod process;
mod wire;

mod admission;
mod architecture;
mod binary;
mod certificates;
mod chaos;
mod cli_send;
mod cli_tail;
mod commands;
mod descriptors;
mod dialogues;
mod drain;
mod drain_under_load;
mod fairness;
mod handshake;
mod health;
mod http;
mod limits;
mod names;
mod order;
mod php_timing;
mod proxies;
mod rates;
mod raw;
mod reconfigure;
mod refusals;
mod reload;
mod reload_under_load;
mod script;
mod service;
mod silence;
mod slow_consumers;
mod sniff;
mod threads;
mod tls;
mod unfinished;
mod websocket;
