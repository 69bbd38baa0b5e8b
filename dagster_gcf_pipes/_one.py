"""One step, one call of a function."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from dagster import open_pipes_session

from dagster_gcf_pipes._adopters import refuse_ended_run
from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._attempts import start_in_thread
from dagster_gcf_pipes._calling import Calling, OpenCall
from dagster_gcf_pipes._contexts import CallingContext, checked_assets, range_data
from dagster_gcf_pipes._made_call import CallInput, MadeCall
from dagster_gcf_pipes._messages.cancel_marker import CancelMarker
from dagster_gcf_pipes._messages.injector import InjectorSession
from dagster_gcf_pipes._messages.session import ReaderSession
from dagster_gcf_pipes._messages.session_reader import TakeMessage
from dagster_gcf_pipes._reported_partitions import ReportedPartitions
from dagster_gcf_pipes._request_body import encode_body
from dagster_gcf_pipes._steps import take_steps


def make_call(calling: Calling, launch: Launch, context: CallingContext, given: CallInput) -> MadeCall:
    """Make a call in this thread, and stop its function if that is interrupted.

    Args:
        calling: Makes the call.
        launch: How the step makes or adopts it.
        context: The context of the step.
        given: What the call gets.

    Raises:
        PipesCloudFunctionError: The call was not made.
    """
    partitions = ReportedPartitions(context, launch)
    reader = _reader(calling, launch, partitions.take if given.partitions is None else None)
    injector = _injector(calling, launch, context, given.partitions)
    marker = CancelMarker(calling.store, launch.call.prefix, context.log)
    with open_pipes_session(
        context=context, extras=given.extras, context_injector=injector, message_reader=reader
    ) as session:
        body = encode_body(given.event, session.get_bootstrap_env_vars())
        # The order keeps a call from a wrong verdict, and a function from running on unseen.
        launch.record(context.log)  # before the call: whoever comes after this step finds its function
        refuse_ended_run(launch.step)
        next_attempt = calling.find_adopter(launch, interrupted=True)

        def stop(reason: str) -> None:
            marker.stop(reader.record, reason)

        with marker.write_if_interrupted(stop, next_attempt):  # around all the time in which the function may run
            start, keys = partial(start_in_thread, on_done=reader.wake), tuple(injector.deletable_keys)
            opened = OpenCall(launch, session, reader, marker, body, start, context.log, keys)
            return partitions.judge(take_steps(calling.steps(opened, context), reader.wait_until))


def _injector(
    calling: Calling, launch: Launch, context: CallingContext, partitions: Mapping[str, Any] | None
) -> InjectorSession:
    return InjectorSession(
        launch.call.prefix,
        calling.get_storage_client,
        calling.settings.inline_context_limit,
        checked_assets(context),
        range_data(context) if partitions is None else partitions,
    )


def _reader(calling: Calling, launch: Launch, take_partitions: TakeMessage | None) -> ReaderSession:
    return ReaderSession(
        calling.store,
        launch.call.prefix,
        poll_interval=calling.settings.poll_interval,
        include_stdio_in_messages=calling.settings.forward_logs,
        log_lines_per_entry=calling.settings.log_lines_per_entry,
        event_log_level=calling.settings.event_log_level,
        take_partitions=take_partitions,
    )
