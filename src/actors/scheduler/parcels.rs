//! What agents fetch for a launch: the files that were too large to be sent along.

use actix::{Context, Handler, Message};
use bytes::Bytes;

use super::Scheduler;
use crate::mesos::parcel::Parcel;
use crate::task::LaunchId;

/// What does the file with this number in the parcel of this launch hold? Answered with nothing for a launch
/// that is not under way.
#[derive(Debug, Message)]
#[rtype(result = "Option<Bytes>")]
pub(in crate::actors) struct ReadParcel {
    pub(in crate::actors) launch: LaunchId,
    pub(in crate::actors) number: usize,
}

impl Handler<ReadParcel> for Scheduler {
    type Result = Option<Bytes>;

    fn handle(&mut self, ReadParcel { launch, number }: ReadParcel, _: &mut Context<Self>) -> Option<Bytes> {
        let task = self.task(launch.task)?;
        let is_under_way = task.row.history.attempt <= launch.attempt && !task.row.state.is_final();
        let mut files = Parcel::of(&task.spec.command).files;
        (is_under_way && number < files.len()).then(|| files.swap_remove(number).content)
    }
}
