//! What agents fetch for a launch: the files that were too large to be sent along.

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, Context, Handler, Message, ResponseActFuture};
use bytes::Bytes;

use super::Scheduler;
use borges_mesos::payload::TaskPayload;
use borges_task::LaunchId;

/// What does the file with this number in the parcel of this launch hold? Answered with nothing for a launch
/// that is not under way.
#[derive(Debug, Message)]
#[rtype(result = "Option<Bytes>")]
pub(crate) struct ReadPayloadFile {
    pub(crate) launch: LaunchId,
    pub(crate) number: usize,
}

impl Handler<ReadPayloadFile> for Scheduler {
    type Result = ResponseActFuture<Self, Option<Bytes>>;

    fn handle(
        &mut self,
        ReadPayloadFile { launch, number }: ReadPayloadFile,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let id = launch.task;
        // A launch of an earlier life: what went into it has to be read again.
        let read = self.read_inputs(id);
        Box::pin(read.into_actor(self).map(move |(left, files), this, _| {
            this.record_outputs(id.run, left, files);
            let row = this.task(id)?.row;
            let is_under_way = row.history.attempt <= launch.attempt && !row.state.is_terminal();
            let mut files = TaskPayload::of(&this.launch_spec(id)?.command).files;
            (is_under_way && number < files.len()).then(|| files.swap_remove(number).content)
        }))
    }
}
