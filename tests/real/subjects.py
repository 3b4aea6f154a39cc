"""The six servers under test: how each is started, a call that only reads, and a call that a person must see.

`stage()` puts a fresh object behind the server and returns the call that would destroy, change or bill it, with
two questions about the back-end: whether the effect is there, and how many requests for it arrived.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass

LOGS = {"FASTMCP_LOG_LEVEL": "WARNING"}


@dataclass
class Gated:
    """One call that must wait for a person, and what the back-end says about it."""

    tool: str
    arguments: dict
    done: Callable[[], bool]
    times: Callable[[], int]
    answer_has: str


class Subject:
    """A server. `read` is (tool, arguments, text that the answer carries); `hidden` is a call that the policy hides."""

    name: str
    options: tuple = ()
    read: tuple
    hidden: tuple | None = None

    def __init__(self, backends, programs):
        self.backends = backends
        self.command = [str(programs / f"awslabs.{self.name}-mcp-server"), *self.options]
        self._numbers = itertools.count(1)
        self.prepare()

    def prepare(self):
        """Data that must be there before the server starts."""

    def environment(self):
        return LOGS | {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_SESSION_TOKEN": "testing",
            "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
            "AWS_ENDPOINT_URL": self.backends.moto.url,
        }

    def stage(self) -> Gated:
        raise NotImplementedError

    def stage_loosely(self) -> Gated | None:
        """The same in a form that only this server's leniency understands, where there is one."""
        return None


class HealthOmics(Subject):
    name = "aws-healthomics"

    def prepare(self):
        batch = self.backends.standin.omics.add_batch("seeded")
        self.read = ("GetAHOBatch", {"batch_id": batch}, "runningRunCount")

    def environment(self):
        return super().environment() | {
            "AWS_ENDPOINT_URL_OMICS": self.backends.standin.url,
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",  # else botocore puts "workflows-" before the address
            "AWS_DATA_PATH": str(self.backends.aws_models),
        }

    def stage(self):
        omics = self.backends.standin.omics
        batch = omics.add_batch()
        return Gated(
            "CancelAHORunBatch", {"batch_id": batch},
            done=lambda: omics.statuses(batch) == {"CANCELLED"},
            times=lambda: omics.count("/runBatch/cancel", batchId=batch),
            answer_has="cancelling",
        )


class DataProcessing(Subject):
    name = "aws-dataprocessing"
    options = ("--allow-write", "--allow-sensitive-data-access")
    read = ("manage_aws_glue_databases", {"operation": "list-databases"}, "Successfully listed")

    def stage(self):
        database, glue = f"sales_{next(self._numbers)}", self.backends.moto.client("glue")
        # The server deletes only what carries its own mark.
        mark = {"ManagedBy": "DataprocessingMcpServer"}
        glue.create_database(DatabaseInput={"Name": database, "Parameters": mark})
        return Gated(
            "manage_aws_glue_databases", {"operation": "delete-database", "database_name": database},
            done=lambda: database not in [known["Name"] for known in glue.get_databases()["DatabaseList"]],
            times=lambda: self.backends.moto.count("DeleteDatabase", f'"{database}"'),
            answer_has="Successfully deleted",
        )


class Valkey(Subject):
    name = "valkey"
    options = ("--no-readonly",)
    read = ("valkey_read", {"command": "GET", "args": ["greeting"]}, "hello")
    hidden = ("valkey_admin", {"command": "FLUSHALL", "confirm": True})

    def prepare(self):
        self.backends.redis.run("SET", "greeting", "hello")

    def environment(self):
        return {
            "VALKEY_HOST": "127.0.0.1", "VALKEY_PORT": str(self.backends.redis.port), "VALKEY_ADMIN_ENABLED": "true",
            "EMBEDDING_PROVIDER": "hash", "AWS_REGION": "us-east-1",
            "MCP_LOG_FILE": str(self.backends.aws_models.parent / "valkey.log"),
        }

    def stage(self):
        return self._delete(lambda key: {"command": "DEL", "args": [key]})

    def stage_loosely(self):
        return self._delete(lambda key: {"command": "del", "args": json.dumps([key])})

    def _delete(self, arguments):
        redis, key = self.backends.redis, f"session:{next(self._numbers)}"
        redis.run("SET", key, "token")
        return Gated(
            "valkey_write", arguments(key),
            done=lambda: redis.run("EXISTS", key) == 0,
            times=lambda: redis.count("DEL", key),
            answer_has="1",
        )


class StepFunctions(Subject):
    """State machines as tools: one that reads a customer and one that deletes one."""

    name = "stepfunctions-tool"
    read = ("LookUpCustomer", {"parameters": {"customer_id": "c0"}}, '"S": "c0"')

    def prepare(self):
        moto = self.backends.moto
        moto.client("dynamodb").create_table(
            TableName="customers", KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST",
        )
        self._add("c0")
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}]}
        moto.client("iam").create_role(RoleName="states", AssumeRolePolicyDocument=json.dumps(trust))
        self._machine("LookUpCustomer", "getItem", "Reads one customer. Input: customer_id")
        self._machine("PurgeCustomerRecord", "deleteItem", "Deletes a customer for good. Input: customer_id")

    def stage(self):
        customer = f"c{next(self._numbers)}"
        self._add(customer)
        table = self.backends.moto.client("dynamodb")
        return Gated(
            "PurgeCustomerRecord", {"parameters": {"customer_id": customer}},
            done=lambda: "Item" not in table.get_item(TableName="customers", Key={"id": {"S": customer}}),
            times=lambda: self.backends.moto.count("StartExecution", f'"{customer}\\"'),
            answer_has="PurgeCustomerRecord returned",
        )

    def _add(self, customer):
        self.backends.moto.client("dynamodb").put_item(TableName="customers", Item={"id": {"S": customer}})

    def _machine(self, name, action, comment):
        step = {
            "Type": "Task", "Resource": f"arn:aws:states:::dynamodb:{action}", "End": True,
            "Parameters": {"TableName": "customers", "Key": {"id": {"S.$": "$.customer_id"}}},
        }
        self.backends.moto.client("stepfunctions").create_state_machine(
            name=name, roleArn="arn:aws:iam::123456789012:role/states", type="STANDARD",
            definition=json.dumps({"Comment": comment, "StartAt": "S", "States": {"S": step}}),
        )


class Eks(Subject):
    name = "eks"
    options = ("--allow-write", "--allow-sensitive-data-access")
    read = ("get_eks_metrics_guidance", {"resource_type": "cluster"}, "metric")

    def stage(self):
        iam, role = self.backends.moto.client("iam"), f"node-{next(self._numbers)}"
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
        return Gated(
            "add_inline_policy",
            {"policy_name": "wide", "role_name": role,
             "permissions": {"Effect": "Allow", "Action": "*", "Resource": "*"}},
            done=lambda: iam.list_role_policies(RoleName=role)["PolicyNames"] == ["wide"],
            times=lambda: self.backends.moto.count("PutRolePolicy", f"RoleName={role}&"),
            answer_has="wide",
        )


class CloudTrail(Subject):
    name = "cloudtrail"
    read = ("lookup_events", {"max_results": 5}, "DeleteBucket")

    def environment(self):
        return super().environment() | {"AWS_ENDPOINT_URL_CLOUDTRAIL": self.backends.standin.url}

    def stage(self):
        cloudtrail = self.backends.standin.cloudtrail
        sql = f"SELECT count(*) AS n FROM store WHERE {next(self._numbers)} = 1"
        return Gated(
            "lake_query", {"sql": sql},
            done=lambda: sql in cloudtrail.queries.values(),
            times=lambda: cloudtrail.count(sql),
            answer_has="FINISHED",
        )


ALL = [HealthOmics, DataProcessing, Valkey, StepFunctions, Eks, CloudTrail]
