"""Writes assets, given as JSON on stdin, below a folder. Of a conflict the chosen version has the path."""

import json
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
root = folder.resolve()
for asset in json.load(sys.stdin):
    conflict = asset.get("conflict")
    path = asset["path"] if not conflict or conflict["chosen"] else f"{asset['path']}.{asset['author']}"
    target = (root / path).resolve()
    if not target.is_relative_to(root):
        sys.exit(f"{path} leads out of {folder}")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(asset["content"])
    print(f"{path} by {asset['author']}" + (" (in conflict)" if conflict else ""))
