"""Write small exported models, one for a family of operators, with MXNet itself: mxnet==1.9.1, numpy==1.23.5."""
import os,sys,json,numpy as onp,mxnet as mx
from mxnet import nd,gluon
from mxnet.gluon import nn,rnn
out=sys.argv[1]; os.makedirs(out,exist_ok=True)
mx.random.seed(3); onp.random.seed(3)
def save(name,net,*xs):
    net.initialize(mx.init.Xavier()); net(*xs)
    for n,p in net.collect_params().items():
        if 'running_mean' in n: p.set_data(nd.random.normal(shape=p.shape)*0.1)
        elif 'running_var' in n: p.set_data(nd.random.uniform(0.5,1.5,shape=p.shape))
        elif p.grad_req!='null' and ('gamma' in n or 'beta' in n or 'alpha' in n or 'bias' in n): p.set_data(nd.random.normal(loc=.5,scale=.2,shape=p.shape))
    net.hybridize(); net(*xs); y=net(*xs)
    y=list(y) if isinstance(y,(list,tuple)) else [y]
    flat=[]
    for e in y: flat+= list(e) if isinstance(e,(list,tuple)) else [e]
    net.export(f'{out}/{name}')
    onp.savez(f'{out}/{name}-io.npz',**{f'x{i}':x.asnumpy() for i,x in enumerate(xs)},**{f'y{i}':e.asnumpy() for i,e in enumerate(flat)})
class L(nn.HybridBlock):
    def __init__(self,f,**kids):
        super().__init__(); self.f=f
        for k,v in kids.items(): setattr(self,k,v)
    def hybrid_forward(self,F,*x,**p): return self.f(F,self,*x)
U=lambda *s: nd.random.uniform(-1,1,shape=s)
img=U(2,4,11,9)
def seq(*a):
    n=nn.HybridSequential(); n.add(*a); return n
save('convolutions',seq(nn.Conv2D(6,(3,2),strides=(2,1),padding=(1,0),dilation=(1,2),groups=2),nn.Conv2DTranspose(4,3,strides=2,padding=1,output_padding=1,groups=2,in_channels=6),nn.Conv2D(3,1,use_bias=False)),img)
save('convolutions1d',seq(nn.Conv1D(5,3,padding=1),nn.MaxPool1D(2),nn.Conv1DTranspose(3,2),nn.GlobalMaxPool1D()),U(2,3,10))
save('convolutions3d',seq(nn.Conv3D(5,3,padding=1),nn.AvgPool3D(2),nn.GlobalAvgPool3D()),U(1,2,6,6,6))
save('pooling',L(lambda F,s,x:(s.a(x),s.b(x),s.c(x),s.d(x),s.e(x)),a=nn.MaxPool2D(3,2,1),b=nn.MaxPool2D(3,2,ceil_mode=True),c=nn.AvgPool2D(3,2,1,count_include_pad=False),d=nn.AvgPool2D(3,2,ceil_mode=True),e=nn.GlobalMaxPool2D()),img)
save('normalisation',seq(nn.BatchNorm(scale=False,epsilon=1e-3),nn.InstanceNorm(scale=True),nn.GroupNorm(2),nn.BatchNorm(),nn.Flatten(),nn.LayerNorm()),img)
save('activations',L(lambda F,s,x:F.concat(F.relu(x),F.sigmoid(x),F.tanh(x),F.softsign(x),F.Activation(x,act_type='softrelu'),F.LeakyReLU(x,act_type='leaky',slope=.3),F.LeakyReLU(x,act_type='elu',slope=.7),F.LeakyReLU(x,act_type='selu'),F.LeakyReLU(x,act_type='gelu'),F.hard_sigmoid(x),s.p(x),s.sw(x),F.clip(x,-.2,.6),F.softmax(x,axis=1),F.log_softmax(x,axis=-1),F.softmax(x,temperature=2.0),dim=1),p=nn.PReLU(),sw=nn.Swish()),img)
save('arithmetic',L(lambda F,s,x,y:((x+y)*2-1)/(F.exp(y)+3)+F.maximum(x,y)+F.minimum(x,0.1)+F.maximum(y,0.2)+(2-x)+1/(y+5)+(y+2)**2+2**x+F.sqrt(F.abs(x))+F.rsqrt(F.square(y)+1)+F.log(F.abs(x)+1)-F.broadcast_mul(x,F.mean(y,axis=1,keepdims=True))+F.broadcast_div(x,F.sum(F.abs(y),axis=(0,2),keepdims=True)+1)+F.add_n(x,y,x)+F.erf(x)+F.reciprocal(y+4)+F.broadcast_power(F.abs(x)+1,y)),U(2,3,4),U(2,3,4))
save('moving',L(lambda F,s,x:(F.reshape(x,(0,-1)),F.reshape(x,(0,0,-1)),F.reshape(x,(-3,0,0)),F.reshape(x,(0,-4,2,-1,-2)),F.transpose(x,axes=(0,2,3,1)),F.swapaxes(x,1,3),F.slice_axis(x,axis=-1,begin=1,end=-1),F.slice(x,begin=(None,1),end=(None,3)),F.split(x,num_outputs=2,axis=1)[1],F.expand_dims(x,axis=1),F.squeeze(F.slice_axis(x,axis=1,begin=0,end=1),axis=1),F.stack(x,x,axis=2),F.flatten(x),F.pad(x,mode='constant',pad_width=(0,0,0,0,1,2,0,1),constant_value=.5),F.pad(x,mode='edge',pad_width=(0,0,0,0,1,1,1,1)),F.UpSampling(x,scale=2,sample_type='nearest'),F.mean(x,axis=(1,2)),F.max(x,axis=1,exclude=True),F.sum(x),F.contrib.BilinearResize2D(x,height=7,width=5),F.contrib.AdaptiveAvgPooling2D(x,output_size=(3,2)),F.min(x,axis=0)),),U(2,4,5,6))
save('products',L(lambda F,s,x,y:(F.batch_dot(x,y,transpose_b=True),F.dot(F.squeeze(F.slice_axis(x,axis=0,begin=0,end=1),axis=0),F.squeeze(F.slice_axis(y,axis=0,begin=0,end=1),axis=0),transpose_b=True))),U(2,3,4),U(2,5,4))
for k,c in (('lstm',rnn.LSTM),('gru',rnn.GRU),('rnn',rnn.RNN)):
    for b in (False,True): save(f'{k}{"2" if b else ""}',seq(c(5,num_layers=2,bidirectional=b,layout='TNC'),nn.Dense(3,flatten=False)),U(6,2,4))
class S(nn.HybridBlock):
    def __init__(s):
        super().__init__(); s.l=rnn.LSTM(5,layout='TNC',input_size=4)
    def hybrid_forward(s,F,x,h,c):
        o,st=s.l(x,[h,c]); return o,st[0],st[1]
save('lstm_states',S(),U(6,2,4),U(1,2,5),U(1,2,5))
class Cell(nn.HybridBlock):
    def __init__(s):
        super().__init__(); s.c=rnn.LSTMCell(5,input_size=4)
    def hybrid_forward(s,F,x,h,c):
        o,_=s.c.unroll(3,x,[h,c],layout='NTC',merge_outputs=True); return o
save('lstm_cell',Cell(),U(2,3,4),U(2,5),U(2,5))
save('sequences',L(lambda F,s,x,n:(F.SequenceLast(x,axis=1),F.SequenceLast(x,n,use_sequence_length=True,axis=1),F.SequenceLast(F.transpose(x,axes=(1,0,2)),n,use_sequence_length=True),F.SequenceReverse(F.transpose(x,axes=(1,0,2))),F.SequenceReverse(F.transpose(x,axes=(1,0,2)),n,use_sequence_length=True),F.SequenceMask(F.transpose(x,axes=(1,0,2)),n,use_sequence_length=True,value=.5))),U(3,5,4),nd.array([2,5,3]))
save('scaling',L(lambda F,s,x:(F.L2Normalization(x),F.L2Normalization(x,mode='channel'),F.L2Normalization(x,mode='spatial',eps=1e-3),F.LRN(x,nsize=3,alpha=.1,beta=.6,knorm=1.5),F.contrib.div_sqrt_dim(x),F.softmin(x,axis=1),F.softmin(x,temperature=2.0),F.smooth_l1(x*3,scalar=1.5))),img)
d=nn.Dense(4,in_units=4,flatten=False)
save('shared',L(lambda F,s,x:s.d(F.relu(s.d(x))),d=d),U(2,4))
class C(nn.HybridBlock):
    def __init__(s):
        super().__init__(); s.scale=s.params.get('scale',shape=(1,4)); s.e=nn.Embedding(7,4); s.w=nn.Dense(7,in_units=4,use_bias=False,flatten=False,params=s.e.params)
    def hybrid_forward(s,F,x,scale): return s.w(F.broadcast_mul(F.mean(s.e(x),axis=1),scale))
save('tied',C(),nd.array(onp.random.randint(0,7,(2,3))))
# the oldest interface: mx.sym with SoftmaxOutput, packed RNN parameters
x=mx.sym.Variable('data'); h=mx.sym.FullyConnected(x,num_hidden=5,name='fc1'); h=mx.sym.BatchNorm(h,name='bn',fix_gamma=True); h=mx.sym.Activation(h,act_type='tanh'); h=mx.sym.FullyConnected(h,num_hidden=3,name='fc2'); y=mx.sym.SoftmaxOutput(h,name='softmax')
m=mx.mod.Module(y,label_names=['softmax_label']); m.bind([('data',(2,4))],[('softmax_label',(2,))]); m.init_params(mx.init.Normal(.5))
b=mx.io.DataBatch([U(2,4)],[nd.zeros((2,))]); m.forward(b,is_train=False); o=m.get_outputs()[0].asnumpy(); m.save_checkpoint(f'{out}/module',0); onp.savez(f'{out}/module-io.npz',x0=b.data[0].asnumpy(),y0=o)
y=mx.sym.RNN(mx.sym.Variable('data'),mx.sym.Variable('lstm_parameters'),mx.sym.Variable('h'),mx.sym.Variable('c'),mode='lstm',state_size=5,num_layers=1,bidirectional=True,name='lstm')
n=2*(4*5*(4+5))+2*2*20
args={'data':U(6,2,4),'lstm_parameters':U(n),'h':U(2,2,5),'c':U(2,2,5)}
o=y.bind(mx.cpu(),args).forward()[0].asnumpy(); y.save(f'{out}/packed-symbol.json'); nd.save(f'{out}/packed-0000.params',{'arg:lstm_parameters':args['lstm_parameters']}); onp.savez(f'{out}/packed-io.npz',x0=args['data'].asnumpy(),x1=args['h'].asnumpy(),x2=args['c'].asnumpy(),y0=o)
# NumPy mode, as 2.x writes
from mxnet import npx,np
npx.set_np()
class N(nn.HybridBlock):
    def __init__(s):
        super().__init__(); s.a=nn.Conv2D(4,3,padding=1,activation='relu'); s.b=nn.BatchNorm(); s.p=nn.MaxPool2D(2); s.d=nn.Dense(5); s.o=nn.Dropout(.3)
    def hybrid_forward(s,F,x):
        y=s.p(s.b(s.a(x))); y=s.o(s.d(y)); return F.npx.softmax(y*2+1, axis=-1)
net=N(); net.initialize(); x=np.random.uniform(size=(2,3,8,8)); net.hybridize(); net(x); y=net(x); net.export(f'{out}/numpy'); onp.savez(f'{out}/numpy-io.npz',x0=x.asnumpy(),y0=y.asnumpy())
