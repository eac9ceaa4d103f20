//! Serves the payload files of a launch, which agents download because they are too large for a call.

use actix::fut::WrapFuture;
use actix::{ActorFutureExt, Context, Handler, ResponseActFuture};
use bytes::Bytes;

use super::Scheduler;
use super::messages::ReadPayloadFile;
use borges_mesos::payload::TaskPayload;

impl Handler<ReadPayloadFile> for Scheduler {
    type Result = ResponseActFuture<Self, Option<Bytes>>;

    fn handle(
        &mut self,
        ReadPayloadFile { launch, number }: ReadPayloadFile,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let id = launch.task;
        // After a restart the inputs of the launch have to be read again.
        let read = self.read_inputs(id);
        Box::pin(read.into_actor(self).map(move |(outputs, files), this, _| {
            this.record_outputs(id.run, outputs, files);
            let entry = this.task(id)?.entry;
            let is_under_way = entry.history.attempt <= launch.attempt && !entry.state.is_terminal();
            let mut files = TaskPayload::of(&this.launch_spec(id)?.command).files;
            (is_under_way && number < files.len()).then(|| files.swap_remove(number).content)
        }))
    }
}
