"""Training loops of others, observed: each sample has the rate of the step just made, and the step agrees."""

import logging

import pytest
import torch
from torch import nn

from accelerando.lens import Lens

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.usefixtures("torchvision_loads", "quietly"),
    pytest.mark.filterwarnings("ignore"),  # a host's own warnings are not what is tested
]

RATES = [0.1 / (1 + k) for k in range(8)]
"""What the schedule sets for the first, second, … step; the host steps the schedule after each."""


@pytest.fixture
def quietly(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for name in ("lightning.pytorch", "lightning.fabric", "transformers", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)


def sgd(parameters):
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1 / (1 + k))


def data(n):
    return [
        {
            "x": torch.randn(4, generator=torch.Generator().manual_seed(i)),
            "labels": torch.tensor(float(i % 2)),
        }
        for i in range(n)
    ]


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Linear(4, 1)

    def forward(self, x, labels):
        return {"loss": (self.inner(x).squeeze(-1) - labels).square().mean()}


def assert_rates_of_the_steps_made(lens, rates):
    rows = lens.table("optimizer")
    assert [r["step"] for r in rows] == list(range(1, len(rates) + 1))
    assert [r["lr"] for r in rows] == pytest.approx(rates, rel=1e-12)
    assert [r["gain"] for r in rows] == pytest.approx(rates, rel=1e-4)
    assert [r["alignment"] for r in rows] == pytest.approx([1.0] * len(rates), rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_hugging_face_trainer(tmp_path, accumulate):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    model = Model()
    optimizer, schedule = sgd(model.parameters())

    class Watched(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, optimizer=None, **_):
            self.lens = Lens(optimizer, model=model, every=1)

        def on_train_end(self, args, state, control, **_):
            self.lens.close()

    watched = Watched()
    transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=8, per_device_train_batch_size=2, report_to=[], use_cpu=True,
            gradient_accumulation_steps=accumulate, save_strategy="no", disable_tqdm=True, max_grad_norm=0.0,
            logging_strategy="no",
        ),
        train_dataset=data(64),
        optimizers=(optimizer, schedule),
        callbacks=[watched],
    ).train()  # fmt: skip
    assert_rates_of_the_steps_made(watched.lens, RATES)
    assert {r["tensor"] for r in watched.lens.table("tensor")} == {"inner.weight", "inner.bias"}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_accelerate(accumulate):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    model = Model()
    optimizer, schedule = sgd(model.parameters())
    loader = torch.utils.data.DataLoader(data(16 * accumulate), batch_size=2)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    with Lens(optimizer, model=model, every=1) as lens:
        for batch in loader:
            with accelerator.accumulate(model):
                accelerator.backward(model(**batch)["loss"])
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
    assert_rates_of_the_steps_made(lens, RATES)


def lightning_module(lightning, automatic):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()
            self.automatic_optimization = automatic

        def training_step(self, batch, _):
            loss = self.model(**batch)["loss"]
            if not automatic:
                optimizer, schedule = self.optimizers(), self.lr_schedulers()
                optimizer.zero_grad()
                self.manual_backward(loss)
                optimizer.step()
                schedule.step()
            return loss

        def configure_optimizers(self):
            optimizer, schedule = sgd(self.parameters())
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    return Module()


@pytest.mark.parametrize(("automatic", "accumulate"), [(True, 1), (True, 2), (False, 1)])
def test_lightning(automatic, accumulate):
    lightning = pytest.importorskip("lightning.pytorch")

    class Watched(lightning.Callback):
        def on_train_start(self, trainer, module):
            self.lens = Lens(trainer.optimizers, model=module, every=1)

        def on_train_end(self, trainer, module):
            self.lens.close()

    watched = Watched()
    lightning.Trainer(
        max_steps=8, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accumulate_grad_batches=accumulate, callbacks=[watched],
        barebones=False,
    ).fit(lightning_module(lightning, automatic), torch.utils.data.DataLoader(data(64), batch_size=2))  # fmt: skip
    assert_rates_of_the_steps_made(watched.lens, RATES)
    assert {r["tensor"] for r in watched.lens.table("tensor")} == {"model.inner.weight", "model.inner.bias"}


def test_a_lightning_logger_takes_the_numbers(tmp_path):
    loggers = pytest.importorskip("lightning.pytorch.loggers")
    logger = loggers.CSVLogger(str(tmp_path))
    model = Model()
    optimizer, _ = sgd(model.parameters())
    with Lens(optimizer, model=model, every=1, sinks=[logger]):
        for item in data(3):
            optimizer.zero_grad()
            model(item["x"], item["labels"])["loss"].backward()
            optimizer.step()
    logger.save()
    text = (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").read_text()
    assert "lens/0/gain" in text and len(text.splitlines()) == 4
