"""Training: `training` trains a model, as a `task` says and by a `recipe`.

`learners` has one learner for each way of training, `fitting` fits any one model; `auxiliary` adds
losses to it, `shared_encoder` trains encoders that share layers, `pretraining` one beforehand, and
`encoding` works on what that one makes of views. `augmentation` varies pictures, `checkpoint` keeps
an interrupted training, `validation` measures meanwhile, `spread` sums up several seeds, `progress`
shows how far all of this is.
"""
