"""Compiled by `python -m protoc_gen_restate.precompile`. Do not edit."""

digest = "f690abba407934b7ec701943e38aa5121f7369cd14a7e735bb076be3a5e21b03"
from jinja2.runtime import LoopContext, Macro, Markup, Namespace, TemplateNotFound, TemplateReference, TemplateRuntimeError, Undefined, escape, identity, internalcode, markup_join, missing, str_join
name = 'base.py.j2'

def root(context, missing=missing):
    resolve = context.resolve_or_missing
    undefined = environment.undefined
    concat = environment.concat
    cond_expr_undefined = Undefined
    if 0: yield None
    l_0_call = resolve('call')
    l_0_service = resolve('service')
    l_0_restate = resolve('restate')
    l_0_item = resolve('item')
    l_0_whole = resolve('whole')
    try:
        t_1 = environment.filters['docstring']
    except KeyError:
        @internalcode
        def t_1(*unused):
            raise TemplateRuntimeError("No filter named 'docstring' found.")
    try:
        t_2 = environment.filters['literal']
    except KeyError:
        @internalcode
        def t_2(*unused):
            raise TemplateRuntimeError("No filter named 'literal' found.")
    pass
    yield str(context.call((undefined(name='call') if l_0_call is missing else l_0_call), str_join(('class ', environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'python_name'), 'Base', )), [str_join(((undefined(name='restate') if l_0_restate is missing else l_0_restate), '.Service', ))], ':'))
    yield '\n    '
    yield str(t_1(environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'documentation'), 4))
    yield '\n\n'
    yield str(context.call((undefined(name='whole') if l_0_whole is missing else l_0_whole), str_join(('    __restate_service__ = ', environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'constant'), ))))
    yield '\n'
    if environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'states'):
        pass
        yield str(context.call((undefined(name='whole') if l_0_whole is missing else l_0_whole), str_join(('    __restate_context__ = ', environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'python_name'), 'Context', ))))
        yield '\n'
    if environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'has_shared_state'):
        pass
        yield str(context.call((undefined(name='whole') if l_0_whole is missing else l_0_whole), str_join(('    __restate_shared_context__ = Shared', environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'python_name'), 'Context', ))))
        yield '\n'
    for l_1_page_method in environment.getattr((undefined(name='item') if l_0_item is missing else l_0_item), 'methods'):
        l_1_page = resolve('page')
        l_1_signature = resolve('signature')
        l_1_reason = resolve('reason')
        l_1_method = l_1_parameters = missing
        _loop_vars = {}
        pass
        l_1_method = environment.getattr(l_1_page_method, 'method')
        _loop_vars['method'] = l_1_method
        yield '\n'
        if environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'abstract'):
            pass
            yield '    @'
            yield str(environment.getattr(environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'names'), 'abc'))
            yield '.abstractmethod\n'
        l_1_parameters = (['self', str_join(('ctx: ', environment.getattr(l_1_page_method, 'context'), ))] + ([] if environment.getattr(l_1_page_method, 'empty_request') else [str_join(('request: ', environment.getattr(environment.getattr(l_1_page_method, 'request'), 'annotation'), ))]))
        _loop_vars['parameters'] = l_1_parameters
        yield str(context.call((undefined(name='signature') if l_1_signature is missing else l_1_signature), str_join(('async def ', environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'python_name'), )), (undefined(name='parameters') if l_1_parameters is missing else l_1_parameters), ('None' if environment.getattr(l_1_page_method, 'empty_response') else environment.getattr(environment.getattr(l_1_page_method, 'response'), 'annotation')), _loop_vars=_loop_vars))
        yield '\n        '
        yield str(t_1(environment.getattr(l_1_page_method, 'documentation'), 8))
        yield '\n'
        if (not environment.getattr((undefined(name='page') if l_1_page is missing else l_1_page), 'abstract')):
            pass
            l_1_reason = t_2(str_join((environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'full_name'), '/', environment.getattr((undefined(name='method') if l_1_method is missing else l_1_method), 'name'), ' is not implemented', )))
            _loop_vars['reason'] = l_1_reason
            yield str(context.call((undefined(name='call') if l_0_call is missing else l_0_call), str_join(('raise ', (undefined(name='restate') if l_0_restate is missing else l_0_restate), '.TerminalError', )), [(undefined(name='reason') if l_1_reason is missing else l_1_reason), str_join(((undefined(name='restate') if l_0_restate is missing else l_0_restate), '.Code.UNIMPLEMENTED', ))], indent=8, _loop_vars=_loop_vars))
            yield '\n'
    l_1_page_method = l_1_method = l_1_page = l_1_parameters = l_1_signature = l_1_reason = missing
    yield '\n    # @@protoc_insertion_point(base:'
    yield str(environment.getattr((undefined(name='service') if l_0_service is missing else l_0_service), 'full_name'))
    yield ')\n'

blocks = {}
debug_info = '1=28&2=30&4=32&5=34&6=36&8=38&9=40&11=42&12=49&14=52&15=55&17=57&18=59&19=61&20=63&21=65&22=67&26=71'
