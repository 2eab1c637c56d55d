"""Sends one file with boto3 in pieces of 8 MiB, four at a time, and prints the seconds it took.

usage: boto3_upload.py ENDPOINT BUCKET KEY FILE   (credentials from the AWS_… variables)
"""

import sys
import time

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

PIECE_BYTES = 8 << 20
AT_ONCE = 4


def main(endpoint, bucket, key, file):
    # The checksums that boto3 adds since 1.36 are left out: the plainest upload it can do.
    config = Config(
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",
        max_pool_connections=AT_ONCE,
    )
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)
    transfer = TransferConfig(
        multipart_threshold=PIECE_BYTES, multipart_chunksize=PIECE_BYTES, max_concurrency=AT_ONCE
    )
    began = time.monotonic()
    client.upload_file(file, bucket, key, Config=transfer)
    print(time.monotonic() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
