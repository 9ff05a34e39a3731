"""Training: `training` builds and trains a model by a `recipe`, one learner for each way.

`fitting` fits any one model; `auxiliary` adds losses to it, `shared_encoder` trains encoders that
share layers, `encoding` works on views that a pretrained encoder encoded. `augmentation` varies
pictures, `checkpoint` keeps an interrupted training, `validation` measures meanwhile, `spread`
sums up several seeds, `progress` shows how far all of this is.
"""
