#!/usr/bin/env python3
"""Writes a recipe of the steps in dag.json ([{name, inputs, output, cmd}], the neutral form of the graph that peers are given).
usage: recipe.py dag.json shell|native > recipe.rhai
`shell` runs each command; `native` makes the same files with `concat`, without a process."""
import json, sys

path, way = sys.argv[1], sys.argv[2]
steps = json.load(open(path))
made = {step["output"]: index for index, step in enumerate(steps)}
quote = lambda text: json.dumps(text)
print("let s = [];")
for step in steps:
    inputs = ", ".join(f"s[{made[path]}]" if path in made else quote(path) for path in step["inputs"])
    if way == "shell":
        call = f"shell(#{{ cmd: {quote(step['cmd'])}, inputs: [{inputs}], outputs: [{quote(step['output'])}] }})"
    else:
        head = ", head: 64" if step["name"] == "root" else ""
        call = f"concat(#{{ inputs: [{inputs}], name: {quote(step['output'])}{head} }})"
    print(f"s.push({call}.named({quote(step['name'])}));")
print(f'output("join", s[{len(steps) - 1}]);')
