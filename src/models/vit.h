/*
 * Vision transformers as graphs (Dosovitskiy et al. 2021; DeiT: Touvron et al. 2021), pre-norm, as
 * in transformers.
 *
 * Segments: four a layer, as PipeEdge cuts them: (1) norm, q, k, v and attention → context and
 * residual; (2) the attention's output and the residual; (3) norm, MLP up and activation →
 * intermediate and residual; (4) MLP down and the residual. Embeddings belong to the first segment;
 * final norm and classifiers to the last.
 */
#ifndef MODELS_VIT_H
#define MODELS_VIT_H

#include "models/model.h"

/* Adds all nodes of a checked configuration to an empty graph. Errors: as model_build. */
NODISCARD shoal_status vit_build(const struct model_config *config, struct graph *graph,
                                 struct shoal_error *error);

#endif
