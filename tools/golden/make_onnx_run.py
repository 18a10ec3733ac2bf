#!/usr/bin/env python3
"""Writes tests/golden/data/onnx-run: small ONNX models with inputs and what ONNX Runtime makes of them.

usage: make_onnx_run.py DIRECTORY
"""
import os
import sys

import numpy as np
import onnx
from onnx import helper as h, TensorProto as T, numpy_helper as nh
import onnxruntime as ort
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
r=np.random.default_rng(7)
def init(name,a): return nh.from_array(a,name)
def rnd(*s,scale=0.3): return (r.standard_normal(s)*scale).astype(np.float32)
def save(name,nodes,ins,outs,inits,feeds):
    g=h.make_graph(nodes,name,ins,outs,inits)
    m=h.make_model(g,opset_imports=[h.make_opsetid('',17)],ir_version=8,producer_name='shoal-golden')
    onnx.checker.check_model(m); onnx.save(m,f'{out}/{name}.onnx')
    s=ort.InferenceSession(f'{out}/{name}.onnx',providers=['CPUExecutionProvider'])
    for k,v in feeds.items(): np.save(f'{out}/{name}.{k}.npy',v)
    for o,v in zip(outs,s.run(None,feeds)): np.save(f'{out}/{name}.{o.name}.npy',v); print(name,o.name,v.shape,v.dtype)
    print(name,os.path.getsize(f'{out}/{name}.onnx'))
# a convolutional classifier, batch norms, symbolic items
N=[];I=[]
x='image';c=3
for i,(o,s) in enumerate([(8,1),(16,2),(16,1)]):
    I+= [init(f'conv{i}.w',rnd(o,c,3,3)),init(f'bn{i}.s',1+rnd(o)),init(f'bn{i}.b',rnd(o)),init(f'bn{i}.m',rnd(o)),init(f'bn{i}.v',np.abs(rnd(o))+.5)]
    N+= [h.make_node('Conv',[x,f'conv{i}.w'],[f'c{i}'],name=f'conv{i}',kernel_shape=[3,3],strides=[s,s],pads=[1,1,1,1]),
         h.make_node('BatchNormalization',[f'c{i}',f'bn{i}.s',f'bn{i}.b',f'bn{i}.m',f'bn{i}.v'],[f'n{i}'],name=f'bn{i}'),
         h.make_node('Relu',[f'n{i}'],[f'r{i}'],name=f'relu{i}')]
    x=f'r{i}';c=o
N+=[h.make_node('Add',['r1','r2'],['sum'],name='sum'),h.make_node('GlobalAveragePool',['sum'],['gap'],name='gap'),h.make_node('Flatten',['gap'],['flat'],name='flat'),
    h.make_node('Gemm',['flat','fc.w','fc.b'],['logits'],name='fc',transB=1)]
I+=[init('fc.w',rnd(10,16)),init('fc.b',rnd(10))]
save('pictures',N,[h.make_tensor_value_info('image',T.FLOAT,['N',3,16,16])],[h.make_tensor_value_info('logits',T.FLOAT,['N',10])],I,{'image':rnd(7,3,16,16,scale=1)})
# two inputs, two outputs of different types
N=[h.make_node('Gather',['table','ids'],['rows'],name='rows'),h.make_node('ReduceMean',['rows'],['mean'],name='mean',axes=[1],keepdims=0),
   h.make_node('Concat',['x','mean'],['both'],name='both',axis=1),h.make_node('MatMul',['both','w'],['prod'],name='prod'),h.make_node('Add',['prod','b'],['y'],name='bias'),h.make_node('Tanh',['y'],['values'],name='tanh'),
   h.make_node('ArgMax',['values'],['place'],name='place',axis=1,keepdims=0)]
I=[init('table',rnd(20,6)),init('w',rnd(14,5)),init('b',rnd(5))]
save('pair',N,[h.make_tensor_value_info('x',T.FLOAT,['N',8]),h.make_tensor_value_info('ids',T.INT64,['N',4])],
     [h.make_tensor_value_info('values',T.FLOAT,['N',5]),h.make_tensor_value_info('place',T.INT64,['N'])],I,{'x':rnd(5,8,scale=1),'ids':r.integers(0,20,(5,4)).astype(np.int64)})
# deep: a graph of more JSON than goes into a request; the items' number is fixed
N=[];I=[];x='x'
for i in range(60):
    I+=[init(f'layer{i}.weight',rnd(8,8)),init(f'layer{i}.bias',rnd(8))]
    N+=[h.make_node('Gemm',[x,f'layer{i}.weight',f'layer{i}.bias'],[f'g{i}'],name=f'layer{i}'),h.make_node('Relu',[f'g{i}'],[f'h{i}'],name=f'relu{i}'),h.make_node('Add',[f'h{i}',x],[f'a{i}'],name=f'add{i}')]
    x=f'a{i}'
N+=[h.make_node('Softmax',[x],['probabilities'],name='softmax',axis=1)]
save('deep',N,[h.make_tensor_value_info('x',T.FLOAT,[2,8])],[h.make_tensor_value_info('probabilities',T.FLOAT,[2,8])],I,{'x':rnd(2,8,scale=.01)})
# text: embeddings, masked mean, classes
N=[h.make_node('Gather',['words','input_ids'],['e'],name='e'),h.make_node('Cast',['attention_mask'],['m'],name='m',to=T.FLOAT),h.make_node('Unsqueeze',['m','two'],['m3'],name='m3'),
   h.make_node('Mul',['e','m3'],['em'],name='em'),h.make_node('ReduceSum',['em','one'],['s'],name='s',keepdims=0),h.make_node('ReduceSum',['m','one'],['n'],name='n',keepdims=1),
   h.make_node('Div',['s','n'],['mean'],name='mean'),h.make_node('MatMul',['mean','w'],['logits'],name='head')]
I=[init('words',rnd(40,12,scale=1)),init('two',np.array([2],np.int64)),init('one',np.array([1],np.int64)),init('w',rnd(12,3,scale=1))]
ids=np.zeros((4,64),np.int64)
lens=[3,64,32,40]
for i,l in enumerate(lens): ids[i,:l]=r.integers(5,40,l)
mask=(ids>0).astype(np.int64)
save('words',N,[h.make_tensor_value_info('input_ids',T.INT64,['N','T']),h.make_tensor_value_info('attention_mask',T.INT64,['N','T'])],[h.make_tensor_value_info('logits',T.FLOAT,['N',3])],I,{'input_ids':ids,'attention_mask':mask})
# whole numbers: quantised on the way, products of integers
w=r.integers(-100,100,(512,160)).astype(np.int8)
N=[h.make_node('DynamicQuantizeLinear',['x'],['q','s','z'],name='q'),h.make_node('MatMulInteger',['q','w','z'],['p'],name='product'),h.make_node('Cast',['p'],['f'],name='f',to=T.FLOAT),h.make_node('Mul',['f','s'],['fs'],name='fs'),h.make_node('Mul',['fs','scale'],['y'],name='y')]
save('integers',N,[h.make_tensor_value_info('x',T.FLOAT,[1,512])],[h.make_tensor_value_info('y',T.FLOAT,[1,160])],[init('w',w),init('scale',np.array(0.01,np.float32))],{'x':rnd(1,512,scale=1)})
