"""What is asked: generated problems, named sets, files of one's own, and their splits.

`load` is the way in. It takes problems from `generated` (word problems of `stories`, code tasks of `one_liners`),
`named` (published sets) or `rows` (files, folders, the hub); `splits` keeps what is held out apart, and `overlap`
looks for copies across sets. `everyday` has the prompts that are no problems at all.
"""
