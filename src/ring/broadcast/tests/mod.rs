//! Loom models of the broadcast.

mod histories;
mod loom;

use super::{
    BroadcastOverflow, BroadcastRecvError, BroadcastSender, BroadcastStart, BroadcastSubscriber,
    BroadcastTryRecvError, broadcast,
};
