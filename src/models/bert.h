/*
 * BERT as a graph (Devlin et al. 2019), norms after each residual, as in transformers. Its inputs
 * are described in models/model.h.
 *
 * Segments: four a layer, as PipeEdge cuts them: (1) q, k, v and attention → context and residual;
 * (2) the attention's output, the residual and its norm; (3) MLP up and activation → intermediate
 * and residual; (4) MLP down, the residual and its norm. Embeddings belong to the first segment;
 * pooling and classifier to the last. The mask crosses every cut up to the last attention, and with
 * mean pooling all of them.
 */
#ifndef MODELS_BERT_H
#define MODELS_BERT_H

#include "models/model.h"

/* Adds all nodes of a checked configuration to an empty graph. Errors: as model_build. */
NODISCARD shoal_status bert_build(const struct model_config *config, struct graph *graph,
                                  struct shoal_error *error);

#endif
