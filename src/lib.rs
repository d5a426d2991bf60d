//! explaind explains what a Hugging Face model did.
//!
//! The folders are the steps of a request, and dependencies point one way:
//! `cli → http → engine → explain → methods → tasks → models → nn`; `input`, `hub`, `numerics`, `config`,
//! `telemetry`, `audit` and `render` are leaves. From `explain` down everything is blocking code that knows no HTTP and no
//! async runtime. See ARCHITECTURE.md.

pub mod audit;
#[cfg(feature = "http")]
pub mod cli;
pub mod config;
pub mod engine;
pub mod evaluation;
pub mod explain;
#[cfg(feature = "http")]
pub mod http;
pub mod hub;
pub mod input;
pub mod methods;
pub mod models;
pub mod nn;
pub mod numerics;
pub mod render;
pub mod tasks;
#[cfg(feature = "http")]
pub mod telemetry;
