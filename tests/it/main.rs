//! Stories: a real door on a real socket, a real store, a real MCP server behind it; told by an agent
//! and a reviewer. Time is the machine's; where something must have happened, the story awaits it.

mod rig;

mod again;
mod allowed_calls;
mod bridge;
mod counted;
mod doorkeeping;
mod drains;
mod eras;
mod http_errors;
mod joined;
mod joined_batches;
mod joined_legacy_tasks;
mod joined_parts;
mod joined_suite;
mod joined_tasks;
mod laps;
mod large;
mod leading;
mod legacy_tasks;
mod links;
mod odd_answers;
mod old_agents;
mod old_servers;
mod once;
mod one_call;
mod params;
mod pipes;
mod refusals;
mod rest;
mod resumption;
mod server_tasks;
mod server_tasks_spelt;
mod server_tasks_whose;
mod spelling;
mod streams;
mod tampering;
mod task_ends;
mod task_legs;
mod task_news;
mod tasks;
mod wait_tool;
mod waiting;
