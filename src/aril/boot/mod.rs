//! Starting the executor, and talking with it until the container is what the configuration says.

pub mod ended;
pub mod hooks;
pub mod idmaps;
pub mod image;
pub mod listener;
pub mod net_devices;
pub mod open;
pub mod resctrl;
pub mod scheduling;
pub mod spawn;
pub mod talk;

pub use ended::Ended;
pub use talk::Fault;
