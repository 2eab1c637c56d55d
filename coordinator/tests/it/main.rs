//! A real coordinator on a loopback port, with its state in a real folder, and clients that speak
//! to it over gRPC. Trainers are made up.

mod door;
mod fence;
mod gate;
mod groups;
mod guarded;
mod lab;
mod leases;
mod logs;
mod people;
mod restart;
mod roles;
mod upkeep;
mod walk;
