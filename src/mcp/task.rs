//! The task that a request names.

use std::borrow::Cow;

use super::{Json, Message, message::is_look_alike};

/// Methods about one task, in whatever version.
const ABOUT_ONE: [&str; 4] = ["tasks/get", "tasks/result", "tasks/update", "tasks/cancel"];

const TASK_ID: &str = "taskId";

/// A request about one task whose name is not one that every server reads alike: for a −32602 answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`taskId` must be a string, and no other param may differ from it in case only")]
pub struct InvalidTask;

/// The name of the task that a request is about; `None`: it is about none.
///
/// # Errors
/// It must name one, and does not; or a lenient server may find another name in it.
pub fn task_named<'a>(message: &Message<'a>) -> Result<Option<Cow<'a, str>>, InvalidTask> {
    let Some(method) = message.method().filter(|method| method.starts_with("tasks/")) else {
        return Ok(None);
    };
    let params = message.params();
    let name = params.and_then(|params| params.get(TASK_ID)?.string());
    let mut members = params.into_iter().flat_map(Json::members);
    let is_doubtful = members.any(|member| is_look_alike(&member.name, &[TASK_ID]));
    if is_doubtful || (name.is_none() && ABOUT_ONE.contains(&method)) {
        return Err(InvalidTask);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Frame, Limits};

    fn named(method: &str, params: &str) -> Result<Option<String>, InvalidTask> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        let Frame::One(message) = Frame::parse(text.as_bytes(), &Limits::default()).unwrap() else {
            unreachable!()
        };
        task_named(&message).map(|name| name.map(Cow::into_owned))
    }

    #[test]
    fn a_task_has_one_name_that_every_server_reads_alike() {
        for method in ABOUT_ONE {
            assert_eq!(named(method, r#"{"taskId":"t\u002d1"}"#), Ok(Some("t-1".into())));
            for odd in ["{}", "[]", r#"{"taskId":1}"#, r#"{"task_id":"t"}"#, r#"{"taskId":"t","TASKID":"u"}"#]
            {
                assert_eq!(named(method, odd), Err(InvalidTask), "{odd}");
            }
        }
        assert_eq!(named("tasks/list", r#"{"cursor":"c"}"#), Ok(None));
        assert_eq!(named("resources/read", r#"{"taskid":1}"#), Ok(None));
    }
}
