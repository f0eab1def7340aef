"""One of our verifiers as the reward of a plain TRL training; nothing else of the project is used.

.venv/bin/python examples/plain_trl/train.py MODEL STEPS
"""

import sys

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

import reasoner


def main(model: str, steps: int) -> None:
    problems = [
        {"prompt": [{"role": "user", "content": f"{a} + {b}? End with #### and the number."}], "answer": str(a + b)}
        for a in range(2, 10)
        for b in range(2, 10)
    ]
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model),
        processing_class=tokenizer,
        reward_funcs=reasoner.reward("number"),
        train_dataset=Dataset.from_list(problems),
        args=GRPOConfig(
            output_dir="trl-output", max_steps=steps, per_device_train_batch_size=8, num_generations=4,
            max_completion_length=32, logging_steps=1, report_to=[], use_cpu=True, bf16=False, save_strategy="no",
        ),
    )  # fmt: skip
    trainer.train()
    print([round(row["reward"], 3) for row in trainer.state.log_history if "reward" in row])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
